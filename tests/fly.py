"""The fake Machines API for tests, on a free port, and its control route."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from emulators.fakes.fly.api import LocalFly
from emulators.fakes.fly.behaviour import FlyBehaviour
from emulators.fakes.fly.limits import FlyLimits
from emulators.fakes.fly.machine import Launch
from emulators.fakes.fly.machines import Machines
from emulators.serving import serving
from emulators.settings import OWN_IMAGE
from tests.harness import plain_http
from tests.harness.waiting import ANSWER_SECONDS, await_value

APP: Final = "launchyard-workers"
TOKEN: Final = "FlyV1-a-token"
FOREIGN_IMAGE: Final = "registry.fly.io/someones-worker:production"


@dataclass
class NoPrograms:
    """Images of which nothing runs. `codes` are the exit codes of machines that are to end."""

    images: frozenset[str] = frozenset({OWN_IMAGE, FOREIGN_IMAGE})
    codes: dict[str, int] = field(default_factory=dict)
    launched: list[Launch] = field(default_factory=list)
    running: set[str] = field(default_factory=set)

    def knows(self, image: str) -> bool:
        return image in self.images

    def start(self, launch: Launch) -> None:
        self.launched.append(launch)
        self.running.add(launch.machine_id)

    def terminate(self, machine_id: str) -> None:
        self.end(machine_id, 143)

    def kill(self, machine_id: str) -> None:
        self.end(machine_id, 137)

    def end(self, machine_id: str, code: int) -> None:
        """Have a machine's program end, if it runs."""
        if machine_id in self.running:
            self.running.remove(machine_id)
            self.codes[machine_id] = code

    def ended(self) -> dict[str, int]:
        ended, self.codes = self.codes, {}
        return ended


@dataclass(frozen=True)
class Fake:
    """A fake Machines API, reached through its control route."""

    url: str
    token: str = TOKEN

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def behave(self, **changes: object) -> None:
        """Replace its behaviour: the default without any delay, with these changes."""
        behaviour = FlyBehaviour.model_validate({"stage_seconds": 0} | changes)
        body = behaviour.model_dump_json()
        plain_http.put(
            f"{self.url}/fake", content=body, headers=self._headers, timeout=ANSWER_SECONDS
        ).raise_for_status()

    def calls(self) -> dict[str, int]:
        """Return how often each method was called."""
        return dict(self._state()["calls"])

    def above_limits(self) -> dict[str, int]:
        """Return how often each method was called above its limit."""
        return dict(self._state()["above_limits"])

    def is_mostly_within_limits(self) -> bool:
        """Return whether at most half of each method's calls were above its limit.

        Without a pace nearly all are. With one, a busy host may bring some calls together that were sent apart.
        """
        state = self._state()
        return all(2 * above <= state["calls"][method] for method, above in state["above_limits"].items())

    def made(self) -> list[dict[str, Any]]:
        """Return every machine that was ever created."""
        return list(self._state()["made"])

    def machines(self) -> list[dict[str, Any]]:
        return [machine for machine in self.made() if machine["state"] != "destroyed"]

    def await_made(self, count: int = 1) -> list[dict[str, Any]]:
        return await_value(lambda: made if len(made := self.made()) >= count else None, f"{count} machines")

    def await_gone(self) -> None:
        """Wait until no machine is left."""
        await_value(lambda: not self.machines(), "the end of every machine")

    def _state(self) -> dict[str, Any]:
        answer = plain_http.get(f"{self.url}/fake", headers=self._headers, timeout=ANSWER_SECONDS).raise_for_status()
        return dict(answer.json())


def at_any_rate() -> FlyLimits:
    """Return limits that are never reached, for tests of something else."""
    hours = iter(range(0, 10**9, 3600))
    return FlyLimits(lambda: float(next(hours)))


@contextmanager
def a_fake(
    programs: NoPrograms | None = None, limits: FlyLimits | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator[Fake]:
    """Serve a fake in this process that does everything without delay, and by default has no limits."""
    behaviour = FlyBehaviour(stage_seconds=0)
    machines = Machines(APP, clock, lambda: datetime.now(UTC), programs or NoPrograms(), behaviour)
    with serving(LocalFly(machines, TOKEN, limits or at_any_rate())) as url:
        yield Fake(url)
