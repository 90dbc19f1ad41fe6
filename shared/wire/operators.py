"""Models for operators: `/v1/sweeps`."""

from typing import Annotated

from pydantic import Field

from shared.wire.base import Answer, Request


class SweepRequest(Request):
    """`limit` is how many orders of each kind of work are read at once. The sweep goes on while more are due."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 200


class SweepAnswer(Answer):
    """The number of orders that the sweep read, and what it did. If `more`, other orders may be due.

    `discarded` counts orders whose output was removed, `keys_forgotten` expired idempotency keys. For the capacity
    contract: `pools` that were processed, orders `created` and `released` for them, and `records_forgotten`.
    """

    looked_at: int
    rung: int
    requeued: int
    ended: int
    discarded: int
    keys_forgotten: int
    pools: int
    created: int
    released: int
    records_forgotten: int
    more: bool
