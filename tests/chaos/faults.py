"""The faults of a proxy, and the seeded dice that choose the calls with a fault."""

import json
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

MAX_DELAY_SECONDS: Final = 1.5


class Kind(StrEnum):
    DROP = "drop"
    """Carried out; the connection is cut before the answer."""
    SILENCE = "silence"
    """Carried out; no answer until the caller's own deadline."""
    DELAY = "delay"
    """Carried out, and answered late."""
    DUPLICATE = "duplicate"
    """Carried out twice; the caller gets the second answer."""
    REFUSE = "refuse"
    """Not carried out; the answer says to try again."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`seconds` is how long a delay takes."""

    kind: Kind
    seconds: float = 0.0


Odds = Mapping[Kind, float]
Faults = Mapping[str, Odds]
"""For each family of calls the probability of each kind of fault; a family that is missing meets none."""


class Chance(Protocol):
    def draw(self, family: str) -> Fault | None:
        """Return the fault of the next call of this family, or None."""


class Dice:
    """Seeded: the same calls in the same order meet the same faults. `record` is called with each."""

    def __init__(self, faults: Faults, seed: int, record: Callable[[str, Fault], None]) -> None:
        self._faults, self._random, self._record = faults, random.Random(seed), record
        self._lock = threading.Lock()
        self._quiet = False
        self.counts: Counter[tuple[str, Kind]] = Counter()

    def quiet(self) -> None:
        """No more faults from now on."""
        self._quiet = True

    def draw(self, family: str) -> Fault | None:
        if self._quiet:
            return None
        with self._lock:
            fault = self._throw(self._faults.get(family, {}))
            if fault is not None:
                self.counts[family, fault.kind] += 1
                self._record(family, fault)
        return fault

    def _throw(self, odds: Odds) -> Fault | None:
        point, length = self._random.random(), self._random.random()
        for kind, probability in odds.items():
            point -= probability
            if point < 0:
                return Fault(kind, length * MAX_DELAY_SECONDS)
        return None


def quiet_on_signal(dice: Dice) -> None:
    """End the faults on SIGUSR1: the chaos run and its proxies are processes of their own."""
    signal.signal(signal.SIGUSR1, lambda *_: dice.quiet())


def write(family: str, fault: Fault) -> None:
    """Write one line a fault to standard output, which is the proxy's log."""
    sys.stdout.write(json.dumps({"fault": f"{family} {fault.kind}", "seconds": round(fault.seconds, 3)}) + "\n")
    sys.stdout.flush()
