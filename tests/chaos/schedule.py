"""What is ordered and what is broken, and when: all of it drawn from one seed before anything starts."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from emulators.settings import DATACENTER
from emulators.source import FOLDER
from functions.domain.order import LAPSE_MARGIN
from shared.domain.spec import AnySpec, CapacitySpec, ExportSpec, NodeSize, TaskSpec

ENTITIES: Final = tuple(sorted(file.name for file in (FOLDER / "entities").iterdir()))
RUN: Final = "LAUNCHYARD_CHAOS"
"""In the environment of all that a task starts: whose it is, should it outlive its machine."""
SAYS: Final = 'echo "$1"; exec sleep "$2"'
FAILS: Final = 'echo "$1"; sleep "$2"; exit 3'
DETACHES: Final = 'setsid sleep 900 </dev/null >/dev/null 2>&1 & echo "$1"; exec sleep "$2"'
"""Leaves a child in a session of its own, which outlives the run unless it is ended with its machine."""
EXPORTS, CAPACITIES, FAILURES, DETACHED, CANCELS = 0.15, 0.06, 0.05, 0.05, 0.10
"""Shares of all orders."""
KEPT: Final = (0.05, 0.25, 0.5, 0.75)
"""How far into the storm the capacity orders are placed that are meant to run still at the end."""
SURE: Final = ((0.02, FAILS, "0.5"), (0.2, DETACHES, "2"), (0.3, FAILS, "0.5"), (0.66, DETACHES, "15"))
"""How far into the storm which tasks are placed whatever the seed: there is always something to place again, and there
are always children that were detached, some of them when the launcher is frozen."""
LONGEST_TASK: Final = 3.0
LONG: Final = 0.15
"""The share of the tasks that last longer than that."""
SHORTEST_LONG, LONGEST_LONG = 10.0, 20.0
SOONEST_CANCEL, LATEST_CANCEL = 0.2, 12.0
"""Seconds after an order was placed; of capacity orders that are not kept, too."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One order to place. `text` is its own alone; `keep`: it is meant to run at the end."""

    number: int
    key: str
    spec: AnySpec
    text: str
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Cancel:
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class KillLauncher:
    """kill -9 of the launcher of one of the machines that run then, and a start on the same state directory `pause`
    seconds later. `draw`, from 0 to 1, says which machine: 0 is the one that has run longest."""

    draw: float
    pause: float


@dataclass(frozen=True, slots=True)
class FreezeLauncher:
    """SIGSTOP of the launcher of one of the machines that run then, and SIGCONT `seconds` later.

    `machines`: what it holds is frozen with it, and stays so: only the launcher can end that.
    """

    draw: float
    seconds: float
    machines: bool = False


@dataclass(frozen=True, slots=True)
class KillMachine:
    """kill -9 of one of the machines that run then."""

    draw: float


@dataclass(frozen=True, slots=True)
class KillFunctions:
    pause: float


@dataclass(frozen=True, slots=True)
class RingAgain:
    """Publish the bell of one of the orders that were placed until then."""

    draw: float


@dataclass(frozen=True, slots=True)
class Mumble:
    """Publish a message that is no bell: the one of this number among MUMBLES."""

    number: int


@dataclass(frozen=True, slots=True)
class Again:
    """Have one of the orders that failed until then placed again."""

    draw: float


@dataclass(frozen=True, slots=True)
class Purge:
    """Remove one of the orders that ended until then, but for those that failed: they are placed again."""

    draw: float


@dataclass(frozen=True, slots=True)
class Download:
    """Fetch the output of one of the orders that succeeded until then."""

    draw: float


Blow = KillLauncher | FreezeLauncher | KillMachine | KillFunctions | RingAgain | Mumble
Action = Place | Cancel | Again | Purge | Download | Blow

MUMBLES: Final[Sequence[Mapping[str, str]]] = (
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
    """`run` names this run; `seconds` is how long the storm lasts, `lease` how long a claim does."""

    run: str
    seed: int
    seconds: float
    orders: int
    launchers: int
    lease: float


def plan(terms: Terms) -> Sequence[Timed]:
    """Return the whole schedule, soonest first: the same for the same terms."""
    chance = random.Random(terms.seed)
    return sorted([*_orders(terms, chance), *_sure(terms), *_others(terms, chance)], key=lambda timed: timed.at)


def last(terms: Terms) -> Wanted:
    """Return the order to place when all is over: a capacity order that nothing ends."""
    text = f"{terms.run}-{terms.orders}"
    spec = CapacitySpec(datacenter=DATACENTER, node_size=NodeSize.TINY)
    return Wanted(terms.orders, f"{text}-last", spec, text, keep=True)


def _orders(terms: Terms, chance: random.Random) -> Iterator[Timed]:
    kept = {int(terms.orders * share) for share in KEPT}
    sure = {int(terms.orders * share): task for share, *task in SURE}
    for number in range(terms.orders):
        at = terms.seconds * number / terms.orders
        wanted = _wanted(terms, number, chance, keep=number in kept)
        if number in sure and not wanted.keep:
            wanted = replace(wanted, spec=_task(terms, wanted.text, *sure[number]))
        yield Timed(at, Place(wanted))
        if number not in sure and _is_cancelled(wanted, chance):
            after = chance.uniform(SOONEST_CANCEL, LATEST_CANCEL)
            yield Timed(min(at + after, terms.seconds), Cancel(wanted))


def _wanted(terms: Terms, number: int, chance: random.Random, keep: bool) -> Wanted:
    text, seconds = f"{terms.run}-{number}", f"{_length(chance):.2f}"
    key, share = f"{text}-{chance.getrandbits(64):016x}", chance.random()
    if keep or share < CAPACITIES:
        return Wanted(number, key, CapacitySpec(datacenter=DATACENTER, node_size=NodeSize.TINY), text, keep)
    if share < CAPACITIES + EXPORTS:
        return Wanted(number, key, ExportSpec(pi=chance.choice(ENTITIES)), text)
    return Wanted(number, key, _task(terms, text, _script(share), seconds), text)


def _task(terms: Terms, text: str, script: str, seconds: str) -> TaskSpec:
    return TaskSpec(command=("env", f"{RUN}={terms.run}", "sh", "-c", script, "task", text, seconds))


def _length(chance: random.Random) -> float:
    """Return how many seconds a task lasts."""
    if chance.random() < LONG:
        return chance.uniform(SHORTEST_LONG, LONGEST_LONG)
    return chance.uniform(0, LONGEST_TASK)


def _script(share: float) -> str:
    if share < CAPACITIES + EXPORTS + FAILURES:
        return FAILS
    return DETACHES if share < CAPACITIES + EXPORTS + FAILURES + DETACHED else SAYS


def _is_cancelled(wanted: Wanted, chance: random.Random) -> bool:
    if isinstance(wanted.spec, CapacitySpec):
        return not wanted.keep
    return chance.random() < CANCELS


def _sure(terms: Terms) -> Iterator[Timed]:
    """What no run is to be without, whatever the seed. The blows fall on the machine that has run longest."""
    yield Timed(terms.seconds * 0.3, KillLauncher(0, 0.5))
    yield Timed(terms.seconds * 0.5, KillLauncher(0, 0.5))
    yield Timed(terms.seconds * 0.7, FreezeLauncher(0, _long_freeze(terms, 1.4), machines=True))
    yield Timed(terms.seconds * 0.6, Again(0))
    yield Timed(terms.seconds * 0.9, Again(0))


def _others(terms: Terms, chance: random.Random) -> Iterator[Timed]:
    """Each kind at a mean distance of its own, in seconds."""
    makers: Sequence[tuple[float, Callable[[], Action]]] = (
        (20, lambda: KillLauncher(chance.random(), chance.uniform(0, 5))),
        (15, lambda: _freeze(terms, chance)),
        (8, lambda: KillMachine(chance.random())),
        (45, lambda: KillFunctions(chance.uniform(0, 2))),
        (3, lambda: RingAgain(chance.random())),
        (10, lambda: Mumble(chance.randrange(len(MUMBLES)))),
        (15, lambda: Again(chance.random())),
        (15, lambda: Purge(chance.random())),
        (6, lambda: Download(chance.random())),
    )
    for mean, make in makers:
        at = chance.uniform(0.2, 0.9) * min(mean, terms.seconds)
        while at < terms.seconds:
            yield Timed(at, make())
            at += chance.expovariate(1 / mean)


def _freeze(terms: Terms, chance: random.Random) -> FreezeLauncher:
    """Return one below a lease, or, one time in three, one past it: every other of those with the machines."""
    draw, kind, length = chance.random(), chance.random(), chance.random()
    if kind < 1 / 6:
        return FreezeLauncher(draw, _long_freeze(terms, 1.2 + 0.6 * length), machines=True)
    if kind < 1 / 3:
        return FreezeLauncher(draw, terms.lease * (1.2 + 0.8 * length))
    return FreezeLauncher(draw, terms.lease * (0.1 + 0.6 * length))


def _long_freeze(terms: Terms, leases: float) -> float:
    """Return a time after which what was held has surely lapsed."""
    return terms.lease * leases + LAPSE_MARGIN.total_seconds()
