"""The fake Compute Engine for tests: on a free port, with what a test needs to know and to break."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from emulators.fakes.compute.api import LocalCompute
from emulators.fakes.compute.behaviour import Behaviour
from emulators.fakes.compute.engine import Engine
from emulators.serving import serving

PROJECT: Final = "a-project"
ZONE: Final = "us-central1-a"
DEADLINE: Final = 120.0
LOOK_SECONDS: Final = 0.02


@dataclass
class NoGuests:
    """Nothing runs inside the instances; a test says which of them power themselves off."""

    off: set[str] = field(default_factory=set)

    def start(self, name: str, config: str) -> None: ...

    def stop(self, name: str) -> None: ...

    def ended(self) -> set[str]:
        ended, self.off = self.off, set()
        return ended


@dataclass(frozen=True)
class Fake:
    """A fake Compute Engine, known by its control route alone."""

    url: str

    def behave(self, **changes: object) -> None:
        """Have it behave so, and in all else as usual: without any delay."""
        behaviour = Behaviour.model_validate({"stage_seconds": 0} | changes)
        httpx.put(f"{self.url}/control", content=behaviour.model_dump_json()).raise_for_status()

    def forward(self, seconds: float) -> None:
        httpx.post(f"{self.url}/control/clock", json={"seconds": seconds}).raise_for_status()

    def calls(self) -> dict[str, int]:
        """Return how often each method was called."""
        return dict(self._told()["calls"])

    def instances(self) -> list[dict[str, Any]]:
        return list(self._told()["instances"])

    def made(self) -> list[dict[str, Any]]:
        """Return every instance that there ever was."""
        return list(self._told()["made"])

    def await_made(self, count: int = 1) -> list[dict[str, Any]]:
        deadline = time.monotonic() + DEADLINE
        while len(made := self.made()) < count:
            assert time.monotonic() < deadline, made
            time.sleep(LOOK_SECONDS)
        return made

    def await_gone(self) -> None:
        """Wait until no instance is left."""
        deadline = time.monotonic() + DEADLINE
        while left := self.instances():
            assert time.monotonic() < deadline, left
            time.sleep(LOOK_SECONDS)

    def _told(self) -> dict[str, Any]:
        answer = httpx.get(f"{self.url}/control").raise_for_status()
        return dict(answer.json())


@contextmanager
def a_fake(guests: NoGuests | None = None) -> Iterator[Fake]:
    """Serve a fake of this process's own, that does everything without delay."""
    engine = Engine(time.monotonic, guests or NoGuests(), Behaviour(stage_seconds=0))
    with serving(LocalCompute(engine)) as url:
        yield Fake(url)
