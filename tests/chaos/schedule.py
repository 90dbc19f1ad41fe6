"""What is ordered and what is broken, and when: all of it drawn from one seed before anything starts."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from emulators.settings import DATACENTER
from emulators.source import FOLDER
from shared.domain.spec import AnySpec, CapacitySpec, ExportSpec, NodeSize, TaskSpec

ENTITIES: Final = tuple(sorted(file.name for file in (FOLDER / "entities").iterdir()))
RUN: Final = "LAUNCHYARD_CHAOS"
"""In the environment of all that a task starts: whose it is, should it outlive its machine."""
SAYS: Final = 'echo "$1"; exec sleep "$2"'
FAILS: Final = 'echo "$1"; sleep "$2"; exit 3'
EXPORTS, CAPACITIES, FAILURES, CANCELS = 0.15, 0.06, 0.05, 0.10
"""Shares of all orders."""
KEPT: Final = (0.6, 0.75, 0.9)
"""How far into the storm the capacity orders are placed that are meant to run still at the end."""
LONGEST_TASK: Final = 3.0
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
    """kill -9, and a start on the same state directory `pause` seconds later."""

    launcher: int
    pause: float


@dataclass(frozen=True, slots=True)
class FreezeLauncher:
    """SIGSTOP, and SIGCONT `seconds` later."""

    launcher: int
    seconds: float


@dataclass(frozen=True, slots=True)
class KillMachine:
    """kill -9 of one of the machines that run then; `draw`, from 0 to 1, says which."""

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
    """Publish a message that is no bell."""


Action = Place | Cancel | KillLauncher | FreezeLauncher | KillMachine | KillFunctions | RingAgain | Mumble


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
    return sorted([*_orders(terms, chance), *_blows(terms, chance)], key=lambda timed: timed.at)


def _orders(terms: Terms, chance: random.Random) -> Iterator[Timed]:
    kept = {int(terms.orders * share) for share in KEPT}
    for number in range(terms.orders):
        at = terms.seconds * number / terms.orders
        wanted = _wanted(terms, number, chance, keep=number in kept)
        yield Timed(at, Place(wanted))
        if _is_cancelled(wanted, chance):
            after = chance.uniform(SOONEST_CANCEL, LATEST_CANCEL)
            yield Timed(min(at + after, terms.seconds), Cancel(wanted))


def _wanted(terms: Terms, number: int, chance: random.Random, keep: bool) -> Wanted:
    text, seconds = f"{terms.run}-{number}", f"{chance.uniform(0, LONGEST_TASK):.2f}"
    key, share = f"{text}-{chance.getrandbits(64):016x}", chance.random()
    if keep or share < CAPACITIES:
        return Wanted(number, key, CapacitySpec(datacenter=DATACENTER, node_size=NodeSize.TINY), text, keep)
    if share < CAPACITIES + EXPORTS:
        return Wanted(number, key, ExportSpec(pi=chance.choice(ENTITIES)), text)
    script = FAILS if share < CAPACITIES + EXPORTS + FAILURES else SAYS
    command = ("env", f"{RUN}={terms.run}", "sh", "-c", script, "task", text, seconds)
    return Wanted(number, key, TaskSpec(command=command), text)


def _is_cancelled(wanted: Wanted, chance: random.Random) -> bool:
    if isinstance(wanted.spec, CapacitySpec):
        return not wanted.keep
    return chance.random() < CANCELS


def _blows(terms: Terms, chance: random.Random) -> Iterator[Timed]:
    """Each kind at a mean distance of its own, in seconds."""
    makers: Sequence[tuple[float, Callable[[], Action]]] = (
        (20, lambda: KillLauncher(chance.randrange(terms.launchers), chance.uniform(0, 5))),
        (15, lambda: FreezeLauncher(chance.randrange(terms.launchers), _freeze(terms, chance))),
        (8, lambda: KillMachine(chance.random())),
        (45, lambda: KillFunctions(chance.uniform(0, 2))),
        (3, lambda: RingAgain(chance.random())),
        (15, Mumble),
    )
    for mean, make in makers:
        at = chance.uniform(0.2, 0.9) * min(mean, terms.seconds)
        while at < terms.seconds:
            yield Timed(at, make())
            at += chance.expovariate(1 / mean)


def _freeze(terms: Terms, chance: random.Random) -> float:
    """Return a time below a lease, or, one time in three, one past it."""
    past = chance.random() < 1 / 3
    return terms.lease * (chance.uniform(1.2, 2.0) if past else chance.uniform(0.1, 0.7))
