"""What a fault proxy does to a call, and the seeded dice that decide to which."""

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

LONGEST_DELAY: Final = 1.5
"""Seconds."""


class Kind(StrEnum):
    DROP = "drop"
    """Carried out; the caller is told that it was cut off."""
    SILENCE = "silence"
    """Carried out; the caller is told nothing, until its own patience ends."""
    DELAY = "delay"
    """Carried out, and answered late."""
    DUPLICATE = "duplicate"
    """Carried out twice; the caller gets the second answer."""
    REFUSE = "refuse"
    """Not carried out: the caller is told to try again."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`seconds` is how long a delay takes."""

    kind: Kind
    seconds: float = 0.0


Odds = Mapping[Kind, float]
Faults = Mapping[str, Odds]
"""For each family of calls, how probable each kind of fault is; a family that is missing is left alone."""


class Chance(Protocol):
    def draw(self, family: str) -> Fault | None:
        """Return what is to happen to the next call of this family; None where nothing is."""


class Dice:
    """Seeded: the same calls in the same order meet the same faults. `tell` hears of each."""

    def __init__(self, faults: Faults, seed: int, tell: Callable[[str, Fault], None]) -> None:
        self._faults, self._random, self._tell = faults, random.Random(seed), tell
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
                self._tell(family, fault)
        return fault

    def _throw(self, odds: Odds) -> Fault | None:
        point, length = self._random.random(), self._random.random()
        for kind, probability in odds.items():
            point -= probability
            if point < 0:
                return Fault(kind, length * LONGEST_DELAY)
        return None


def quiet_on_signal(dice: Dice) -> None:
    """Have SIGUSR1 end the faults: how the chaos run tells a proxy that is a process of its own."""
    signal.signal(signal.SIGUSR1, lambda *_: dice.quiet())


def write(family: str, fault: Fault) -> None:
    """Write one line a fault to standard output, which is the proxy's log."""
    sys.stdout.write(json.dumps({"fault": f"{family} {fault.kind}", "seconds": round(fault.seconds, 3)}) + "\n")
    sys.stdout.flush()
