"""Simulates a lane that many accounts share, one of which floods it: `python -m bench.fairness`.

It prints how long the other accounts' orders wait, with the flood and without. The control plane is the real one, on
the memory store; only the clock is virtual. Launchers poll at a steady pace, and no sweep ends an order, so that what
is dead stays. A wait counts from the time at which an order may be claimed to its claim, in seconds, and in claims of
the account that floods. While launchers wait for orders, the process follows the feed of those that come
(`engine.arrivals`); while they only answer bells, it does not.
"""

import os
import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import cycle, product
from typing import Any, Final, cast
from uuid import uuid4

from rich.console import Console
from rich.table import Table

from functions.apis import APIS, EVERYTHING
from functions.domain.limits import POLICIES, OrderLimits
from functions.domain.quotas import Quotas
from functions.engine.claims import Claimant, Claims, NextClaim
from functions.engine.orders import NewOrder, Orders
from functions.ports.clock import Clock
from functions.ports.order_feed import OrderFeed
from functions.settings import QuotaSettings, read_settings
from functions.wiring.makers import plan_for
from shared.domain.lanes import lane
from shared.domain.spec import OrderKind, TaskSpec

SPEC: Final = TaskSpec(command=("true",))
LIMITS: Final = POLICIES[OrderKind.TASK].limits
DEAD: Final = replace(LIMITS, queue_seconds=0.001)
"""Of orders that nobody can claim: less than a client may ask for, and as long as a sweep has not come."""
ALL: Final = 10**9
NO_QUOTA: Final = Quotas(ALL, ALL, ALL, ALL, ALL, ALL)
"""The quotas would stop the flood at its source; what is measured is the sharing."""
FLOODER: Final = "flood"
START: Final = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SETTINGS: Final = {
    "LAUNCHYARD_BACKEND": "memory",
    "LAUNCHYARD_BUCKET": "s3://outputs",
    "LAUNCHYARD_URL": "http://127.0.0.1:8080",
    "LAUNCHYARD_CALLBACK_SECRET": "a callback secret of a simulation, of 32 characters or more",
    "GOOGLE_CLOUD_PROJECT": "a-project",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """`orders` of each of `accounts` accounts come at random times within `seconds`. `flood` orders of one more account
    come at a sixth of that time: half of them can be claimed, a quarter are dead at once, a quarter are for later.
    """

    accounts: int = 999
    orders: int = 2
    seconds: float = 60.0
    claims_per_second: float = 50.0
    flood: int = 10_000
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Wait:
    """How long an order waited: `claims` is how many of the flood's orders were claimed meanwhile."""

    seconds: float
    claims: int


class Simulation:
    """If `follows`, the process follows the feed of the orders that arrive."""

    def __init__(self, plan: Plan, flooded: bool, follows: bool) -> None:
        self._plan, self._flooded, self._follows = plan, flooded, follows
        self._now, self._taken_of_flood = START, 0
        os.environ.update(SETTINGS)
        needed = plan_for(APIS, EVERYTHING)
        given: dict[Any, object] = {**read_settings(needed.settings).by_type}
        given[QuotaSettings] = QuotaSettings.model_construct(**asdict(NO_QUOTA))
        given[Clock] = lambda: self._now
        services = needed.make(given)
        self._orders, self._claims = cast("Orders", services[Orders]), cast("Claims", services[Claims])
        self._feed, self._any_order = cast("OrderFeed", services[OrderFeed]), cast("NextClaim", services[NextClaim])

    def run(self) -> list[Wait]:
        """Return the waits of all orders but the flood's."""
        plan, waits = self._plan, list[Wait]()
        come = sorted(self._arrivals())
        placed: dict[str, tuple[datetime, int]] = {}
        flood_at = START + timedelta(seconds=plan.seconds / 6) if self._flooded else None
        if self._follows:
            note = self._any_order.note_queued
            self._feed.follow(lambda seen: note(seen.order.lanes, seen), lambda: None)
        while come or placed:
            while come and come[0][0] <= self._now:
                _, account = come.pop(0)
                placed[self._place(account)] = self._now, self._taken_of_flood
            if flood_at is not None and flood_at <= self._now:
                flood_at = None
                self._pour()
            taken = self._claims.next(_a_claimant(), 0, lambda: True)
            if taken is not None and taken.account == FLOODER:
                self._taken_of_flood += 1
            elif taken is not None:
                since, before = placed.pop(taken.id)
                waits.append(Wait((self._now - since).total_seconds(), self._taken_of_flood - before))
            self._now += timedelta(seconds=1 / plan.claims_per_second)
        return waits

    def _arrivals(self) -> list[tuple[datetime, str]]:
        chance = random.Random(self._plan.seed)  # noqa: S311 (a simulation)
        return [
            (START + timedelta(seconds=chance.uniform(0, self._plan.seconds)), f"account-{n:04}")
            for n in range(self._plan.accounts)
            for _ in range(self._plan.orders)
        ]

    def _pour(self) -> None:
        later = self._now + timedelta(days=1)
        ways = ((LIMITS, None), (DEAD, None), (LIMITS, None), (LIMITS, later))
        for _, (limits, not_before) in zip(range(self._plan.flood), cycle(ways), strict=False):
            self._place(FLOODER, limits, not_before)

    def _place(self, account: str, limits: OrderLimits = LIMITS, not_before: datetime | None = None) -> str:
        return self._orders.create(NewOrder(account, SPEC, limits, not_before, str(uuid4()), "")).id


def _a_claimant() -> Claimant:
    return Claimant("rack/alpha", str(uuid4()), (lane(SPEC),), attended=True)


def main() -> None:
    plan = Plan()
    pace = f"in {plan.seconds:.0f} s, {plan.claims_per_second:.0f} claims a second"
    title = f"Waits of {plan.accounts} accounts, {plan.orders} orders of each {pace}"
    table = Table("", "arrivals", "p50 s", "p99 s", "longest s", "claims of the flood meanwhile, p99", title=title)
    for flooded, follows in product((False, True), (True, False)):
        name = f"beside one that places {plan.flood} at once" if flooded else "alone"
        arrivals = "followed" if follows else "not followed"
        table.add_row(name, arrivals, *_figures(Simulation(plan, flooded, follows).run()))
    Console().print(table)


def _figures(waits: Sequence[Wait]) -> list[str]:
    seconds = statistics.quantiles((wait.seconds for wait in waits), n=100)
    claims = statistics.quantiles((wait.claims for wait in waits), n=100)
    longest = max(wait.seconds for wait in waits)
    return [f"{seconds[49]:.2f}", f"{seconds[98]:.2f}", f"{longest:.2f}", f"{claims[98]:.0f}"]


if __name__ == "__main__":
    main()
