"""For operators: the sweep, which a scheduler requests."""

from typing import Final

from functions.domain.access import Role
from functions.engine.sweep import Sweep
from functions.http.routing import Route
from shared.wire.operators import SweepAnswer, SweepRequest


def run_sweep(body: SweepRequest, sweep: Sweep) -> SweepAnswer:
    swept = sweep.run(body.limit)
    return SweepAnswer(
        looked_at=swept.orders,
        rung=swept.done["rung"],
        requeued=swept.done["requeued"],
        ended=swept.done["ended"],
        discarded=swept.done["discarded"],
        keys_forgotten=swept.keys_forgotten,
        pools=swept.done["pools"],
        created=swept.done["created"],
        released=swept.done["released"],
        records_forgotten=swept.done["records_forgotten"],
        more=swept.more,
    )


ROUTES: Final = (
    Route(
        "POST",
        "/v1/sweeps",
        frozenset({Role.ADMIN}),
        run_sweep,
        "Do the work that is due for orders, pools and records",
    ),
)
