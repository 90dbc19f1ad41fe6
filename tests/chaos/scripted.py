"""Faults scripted one by one, for tests of the proxies."""

from collections import defaultdict

from tests.chaos.faults import Fault, Kind


class Scripted:
    """Gives each of the next calls of a family one of the scripted faults, and later calls none."""

    def __init__(self) -> None:
        self._faults: defaultdict[str, list[Fault]] = defaultdict(list)
        self.calls: list[str] = []
        """The family of each call that came."""

    def next(self, family: str, *kinds: Kind, seconds: float = 0.0) -> None:
        self._faults[family].extend(Fault(kind, seconds) for kind in kinds)

    def draw(self, family: str) -> Fault | None:
        self.calls.append(family)
        faults = self._faults[family]
        return faults.pop(0) if faults else None
