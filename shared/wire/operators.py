"""Models for operators: `/v1/sweeps`."""

from typing import Annotated

from pydantic import Field

from shared.wire.base import Answer, Request


class SweepRequest(Request):
    limit: Annotated[int, Field(ge=1, le=1000)] = 200


class SweepAnswer(Answer):
    """How many orders were looked at, and what was done to them. `more`: there may be others due.

    `discarded` counts orders whose output was removed, `keys_forgotten` idempotency keys past their day. Of the
    capacity contract: `pools` seen to, orders `created` and `released` for them, and `records_forgotten`.
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
