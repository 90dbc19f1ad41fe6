"""The fake Compute Engine for tests, on a free port, and its control route."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from emulators.fakes.compute.api import LocalCompute
from emulators.fakes.compute.behaviour import ComputeBehaviour
from emulators.fakes.compute.engine import Engine
from emulators.serving import serving
from tests.harness import plain_http
from tests.harness.waiting import ANSWER_SECONDS, await_value

PROJECT: Final = "a-project"
ZONE: Final = "us-central1-a"


@dataclass
class NoGuests:
    """Instances in which nothing runs; a test puts into `off` those that are to power themselves off."""

    off: set[str] = field(default_factory=set)

    def start(self, name: str, config: str) -> None: ...

    def stop(self, name: str) -> None: ...

    def ended(self) -> set[str]:
        ended, self.off = self.off, set()
        return ended


@dataclass(frozen=True)
class Fake:
    """A fake Compute Engine, reached through its control route."""

    url: str

    def behave(self, **changes: object) -> None:
        """Replace its behaviour: the default without any delay, with these changes."""
        behaviour = ComputeBehaviour.model_validate({"stage_seconds": 0} | changes)
        plain_http.put(
            f"{self.url}/control", content=behaviour.model_dump_json(), timeout=ANSWER_SECONDS
        ).raise_for_status()

    def forward(self, seconds: float) -> None:
        plain_http.post(
            f"{self.url}/control/clock", json={"seconds": seconds}, timeout=ANSWER_SECONDS
        ).raise_for_status()

    def calls(self) -> dict[str, int]:
        """Return how often each method was called."""
        return dict(self._state()["calls"])

    def instances(self) -> list[dict[str, Any]]:
        return list(self._state()["instances"])

    def made(self) -> list[dict[str, Any]]:
        """Return every instance that was ever created."""
        return list(self._state()["made"])

    def await_made(self, count: int = 1) -> list[dict[str, Any]]:
        return await_value(lambda: made if len(made := self.made()) >= count else None, f"{count} instances")

    def await_gone(self) -> None:
        """Wait until no instance is left."""
        await_value(lambda: not self.instances(), "the deletion of every instance")

    def _state(self) -> dict[str, Any]:
        answer = plain_http.get(f"{self.url}/control", timeout=ANSWER_SECONDS).raise_for_status()
        return dict(answer.json())


@contextmanager
def a_fake(guests: NoGuests | None = None) -> Iterator[Fake]:
    """Serve a fake in this process that does everything without delay."""
    engine = Engine(time.monotonic, guests or NoGuests(), ComputeBehaviour(stage_seconds=0))
    with serving(LocalCompute(engine)) as url:
        yield Fake(url)
