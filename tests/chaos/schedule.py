"""The schedule of a chaos run, orders and disruptions: drawn from one seed before anything starts."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from emulators.settings import DATACENTER
from emulators.source import FOLDER
from functions.domain.order import LAPSE_MARGIN
from shared.domain.spec import AnySpec, CapacitySpec, ExportSpec, NodeSize, TaskSpec

ENTITIES: Final = tuple(sorted(file.name for file in (FOLDER / "entities").iterdir()))
RUN: Final = "LAUNCHYARD_CHAOS"
"""A variable in the environment of everything that a task starts: the name of its run."""
PRINTS: Final = 'echo "$1"; exec sleep "$2"'
FAILS: Final = 'echo "$1"; sleep "$2"; exit 3'
DETACHES: Final = 'setsid sleep 900 </dev/null >/dev/null 2>&1 & echo "$1"; exec sleep "$2"'
"""Leaves a child in a session of its own, which outlives the run unless the launcher ends it with its machine."""
EXPORTS, CAPACITIES, FAILURES, DETACHED, CANCELS = 0.15, 0.06, 0.05, 0.05, 0.10
"""Shares of all orders."""
KEPT_SHARES: Final = (0.05, 0.25, 0.5, 0.75)
"""How far into the storm those capacity orders are placed that are to run at the end."""
GUARANTEED: Final = ((0.02, FAILS, "0.5"), (0.2, DETACHES, "2"), (0.3, FAILS, "0.5"), (0.66, DETACHES, "15"))
"""How far into the storm which tasks are placed whatever the seed, so that every run has orders to requeue and detached
children, some of them while the launcher is frozen. In seconds: how long each lasts."""
MAX_SHORT_SECONDS: Final = 3.0
LONG_TASKS: Final = 0.15
"""The share of the tasks that last longer than MAX_SHORT_SECONDS."""
MIN_LONG_SECONDS, MAX_LONG_SECONDS = 10.0, 20.0
MIN_CANCEL_SECONDS, MAX_CANCEL_SECONDS = 0.2, 12.0
"""How long after it was placed an order is cancelled: a share of the orders, and every capacity order not kept."""


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    """One order to place. `text` is unique to it; `keep`: it is to run at the end."""

    number: int
    key: str
    spec: AnySpec
    text: str
    keep: bool = False


@dataclass(frozen=True, slots=True)
class PlaceOrder:
    planned: PlannedOrder


@dataclass(frozen=True, slots=True)
class CancelOrder:
    planned: PlannedOrder


@dataclass(frozen=True, slots=True)
class KillLauncher:
    """Kill the launcher of a running machine with SIGKILL, and start it on the same state directory `pause` seconds
    later. `draw`, from 0 to 1, chooses the machine; 0 is the oldest.

    `sure`: the machine is one that does not end by itself, and is waited for as long as a slow host needs.
    """

    draw: float
    pause: float
    sure: bool = False


@dataclass(frozen=True, slots=True)
class FreezeLauncher:
    """Freeze the launcher of a running machine for so many seconds.

    `machines`: freeze its machines, too, and until their launcher has ended them. `sure` is as in `KillLauncher`.
    """

    draw: float
    seconds: float
    machines: bool = False
    sure: bool = False


@dataclass(frozen=True, slots=True)
class KillMachine:
    """Kill a running machine with SIGKILL."""

    draw: float


@dataclass(frozen=True, slots=True)
class KillFunctions:
    pause: float


@dataclass(frozen=True, slots=True)
class RepeatBell:
    """Publish the bell of an order again."""

    draw: float


@dataclass(frozen=True, slots=True)
class PublishMalformed:
    """Publish the message of this number in MALFORMED_BELLS."""

    number: int


@dataclass(frozen=True, slots=True)
class Requeue:
    """Requeue a failed order. `sure`: wait for one, unless one was requeued before."""

    draw: float
    sure: bool = False


@dataclass(frozen=True, slots=True)
class Purge:
    """Purge an order that has ended, but not a failed one: those are requeued. `sure` is as in `Requeue`."""

    draw: float
    sure: bool = False


@dataclass(frozen=True, slots=True)
class Download:
    """Download the output of an order that has succeeded. `sure` is as in `Requeue`."""

    draw: float
    sure: bool = False


Disruption = KillLauncher | FreezeLauncher | KillMachine | KillFunctions | RepeatBell | PublishMalformed
Action = PlaceOrder | CancelOrder | Requeue | Purge | Download | Disruption

MALFORMED_BELLS: Final[Sequence[Mapping[str, str]]] = (
    {"order": "none"},
    {"order_id": "../no order/of ours", "lane": "any/task"},
    {"order_id": "x" * 300, "lane": "any/task"},
    {"order_id": "", "lane": ""},
)


@dataclass(frozen=True, slots=True)
class Timed:
    """`at` is in seconds since the storm began."""

    at: float
    action: Action


@dataclass(frozen=True, slots=True)
class Terms:
    """`run` is the run's name, and that of its project; `seconds` is how long the storm lasts, `lease` how long a claim
    does, in seconds. `emulators` are variables that name Google's, if they run already.
    """

    run: str
    seed: int
    seconds: float
    orders: int
    launchers: int
    lease: float
    emulators: Mapping[str, str] = field(default_factory=dict)


def plan(terms: Terms) -> Sequence[Timed]:
    """Return the schedule in the order of time: the same schedule for the same terms."""
    chance = random.Random(terms.seed)
    return sorted([*_orders(terms, chance), *_guaranteed(terms), *_others(terms, chance)], key=lambda timed: timed.at)


def last(terms: Terms) -> PlannedOrder:
    """Return the order to place after the storm: a capacity order that runs until the end."""
    text = f"{terms.run}-{terms.orders}"
    spec = CapacitySpec(datacenter=DATACENTER, node_size=NodeSize.TINY)
    return PlannedOrder(terms.orders, f"{text}-last", spec, text, keep=True)


def _orders(terms: Terms, chance: random.Random) -> Iterator[Timed]:
    kept = {int(terms.orders * share) for share in KEPT_SHARES}
    sure = {int(terms.orders * share): task for share, *task in GUARANTEED}
    for number in range(terms.orders):
        at = terms.seconds * number / terms.orders
        planned = _wanted(terms, number, chance, keep=number in kept)
        if number in sure and not planned.keep:
            planned = replace(planned, spec=_task(terms, planned.text, *sure[number]))
        yield Timed(at, PlaceOrder(planned))
        if number not in sure and _is_cancelled(planned, chance):
            after = chance.uniform(MIN_CANCEL_SECONDS, MAX_CANCEL_SECONDS)
            yield Timed(min(at + after, terms.seconds), CancelOrder(planned))


def _wanted(terms: Terms, number: int, chance: random.Random, keep: bool) -> PlannedOrder:
    text, seconds = f"{terms.run}-{number}", f"{_length(chance):.2f}"
    key, share = f"{text}-{chance.getrandbits(64):016x}", chance.random()
    if keep or share < CAPACITIES:
        return PlannedOrder(number, key, CapacitySpec(datacenter=DATACENTER, node_size=NodeSize.TINY), text, keep)
    if share < CAPACITIES + EXPORTS:
        return PlannedOrder(number, key, ExportSpec(pi=chance.choice(ENTITIES)), text)
    return PlannedOrder(number, key, _task(terms, text, _script(share), seconds), text)


def _task(terms: Terms, text: str, script: str, seconds: str) -> TaskSpec:
    return TaskSpec(command=("env", f"{RUN}={terms.run}", "sh", "-c", script, "task", text, seconds))


def _length(chance: random.Random) -> float:
    """Return how many seconds a task lasts."""
    if chance.random() < LONG_TASKS:
        return chance.uniform(MIN_LONG_SECONDS, MAX_LONG_SECONDS)
    return chance.uniform(0, MAX_SHORT_SECONDS)


def _script(share: float) -> str:
    if share < CAPACITIES + EXPORTS + FAILURES:
        return FAILS
    return DETACHES if share < CAPACITIES + EXPORTS + FAILURES + DETACHED else PRINTS


def _is_cancelled(planned: PlannedOrder, chance: random.Random) -> bool:
    if isinstance(planned.spec, CapacitySpec):
        return not planned.keep
    return chance.random() < CANCELS


def _guaranteed(terms: Terms) -> Iterator[Timed]:
    """The actions that every run carries out, with any seed and on any host: each waits for what it needs."""
    yield Timed(terms.seconds * 0.3, KillLauncher(0, 0.5, sure=True))
    yield Timed(terms.seconds * 0.5, KillLauncher(0, 0.5, sure=True))
    yield Timed(terms.seconds * 0.7, FreezeLauncher(0, _long_freeze(terms, 1.4), machines=True, sure=True))
    yield Timed(terms.seconds * 0.6, Requeue(0, sure=True))
    yield Timed(terms.seconds * 0.9, Requeue(0, sure=True))
    yield Timed(terms.seconds * 0.8, Download(0, sure=True))
    yield Timed(terms.seconds * 0.9, Purge(0, sure=True))


def _others(terms: Terms, chance: random.Random) -> Iterator[Timed]:
    """The other actions: for each kind the mean time between two of them, in seconds."""
    makers: Sequence[tuple[float, Callable[[], Action]]] = (
        (20, lambda: KillLauncher(chance.random(), chance.uniform(0, 5))),
        (15, lambda: _freeze(terms, chance)),
        (8, lambda: KillMachine(chance.random())),
        (45, lambda: KillFunctions(chance.uniform(0, 2))),
        (3, lambda: RepeatBell(chance.random())),
        (10, lambda: PublishMalformed(chance.randrange(len(MALFORMED_BELLS)))),
        (15, lambda: Requeue(chance.random())),
        (15, lambda: Purge(chance.random())),
        (6, lambda: Download(chance.random())),
    )
    for mean, make in makers:
        at = chance.uniform(0.2, 0.9) * min(mean, terms.seconds)
        while at < terms.seconds:
            yield Timed(at, make())
            at += chance.expovariate(1 / mean)


def _freeze(terms: Terms, chance: random.Random) -> FreezeLauncher:
    """Return a freeze shorter than a lease, or, one time in three, a longer one, half of those with the machines."""
    draw, kind, length = chance.random(), chance.random(), chance.random()
    if kind < 1 / 6:
        return FreezeLauncher(draw, _long_freeze(terms, 1.2 + 0.6 * length), machines=True)
    if kind < 1 / 3:
        return FreezeLauncher(draw, terms.lease * (1.2 + 0.8 * length))
    return FreezeLauncher(draw, terms.lease * (0.1 + 0.6 * length))


def _long_freeze(terms: Terms, leases: float) -> float:
    """Return a length after which every lease held before has lapsed."""
    return terms.lease * leases + LAPSE_MARGIN.total_seconds()
