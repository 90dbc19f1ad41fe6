"""Disrupts the deployment of a chaos run: kills, freezes, repeated and malformed bells."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import Final

import psutil

from emulators.settings import TOPIC
from shared.wire.bell import Bell, to_attributes
from tests.chaos import machines
from tests.chaos.deployment import Deployment
from tests.chaos.orphans import bound
from tests.chaos.schedule import MALFORMED_BELLS
from tests.harness import plain_http
from tests.harness.environment import PUBSUB
from tests.harness.processes import SupervisedServer, is_running, suspended

POLL_SECONDS: Final = 0.5
"""Between two looks at the process table."""
CHOICE_SECONDS: Final = 15.0
"""How long a disruption waits for a launcher that holds a machine."""
SURE_SECONDS: Final = 150.0
"""How long one waits that every run is to have: on a slow host a machine comes late."""
THAW_SECONDS: Final = 30.0
"""How long past the bound of an orphan a frozen machine stays frozen: if its launcher has not ended it by then, the
checker finds it."""


class Disruptions:
    """`over` ends each disruption early; `counts` has the number of disruptions of each kind.

    `kept` returns the ids of the orders that are to run until the end: their machines do not end by themselves.
    """

    def __init__(self, deployment: Deployment, over: threading.Event, kept: Callable[[], Collection[str]]) -> None:
        self.counts: Counter[str] = Counter()
        self._deployment, self._over, self._kept = deployment, over, kept
        self._home, self._run = deployment.home, deployment.terms.run
        self._recording = threading.Lock()
        self._ended: list[str] = []
        self._spared: set[str] = set()
        """Machines that are, or were, frozen: nothing but their launcher ends them."""

    def kill_launcher(self, draw: float, pause: float, sure: bool = False) -> None:
        with self._chosen_launcher(draw, sure) as (launcher, holds):
            self._kill(launcher, f"launcher killed{'' if holds else ' that held nothing'}")
            self._over.wait(pause)
            launcher.start()

    def freeze_launcher(self, draw: float, seconds: float, with_machines: bool, sure: bool = False) -> None:
        lease = self._deployment.terms.lease
        with ExitStack() as thaw:
            with self._chosen_launcher(draw, sure) as (launcher, holds), launcher.frozen():
                # The launcher was frozen first, so it starts no machine in between.
                frozen = thaw.enter_context(self._frozen_machines(launcher)) if with_machines else []
                what = f"launcher{' and its machines' if with_machines else ''} frozen"
                length = f"{'past' if seconds > lease else 'within'} its lease"
                self._record(f"{what} {length}{'' if holds else ', that held nothing'}", launcher.name, seconds)
                self._over.wait(seconds)
            deadline = time.monotonic() + bound(lease) + THAW_SECONDS
            while any(map(is_running, frozen)) and time.monotonic() < deadline:
                if self._over.wait(POLL_SECONDS):
                    return

    def kill_functions(self, pause: float) -> None:
        functions = self._deployment.functions
        with functions.lock:
            self._kill(functions, "functions killed")
            self._over.wait(pause)
            functions.start()

    def kill_machine(self, draw: float) -> None:
        deadline = time.monotonic() + CHOICE_SECONDS
        while not (found := [one for one in machines.running(self._home, self._run) if one.vm not in self._spared]):
            if time.monotonic() > deadline or self._over.wait(POLL_SECONDS):
                return
        victim = found[int(draw * len(found))]
        with suppress(psutil.NoSuchProcess):
            victim.process.kill()
            self._record("machine killed", victim.process.pid, victim.launcher)

    def repeat_bell(self, bell: Bell) -> None:
        self._publish(to_attributes(bell))
        self._record("bell repeated", bell.order_id)

    def publish_malformed(self, number: int) -> None:
        self._publish(MALFORMED_BELLS[number])
        self._record("malformed message", number)

    def ended_by_themselves(self) -> list[str]:
        """Return the names of the servers that ended without being killed."""
        return self._ended + self._deployment.not_running()

    @contextmanager
    def _chosen_launcher(self, draw: float, sure: bool) -> Iterator[tuple[SupervisedServer, bool]]:
        """Yield a launcher, locked, and whether it holds a machine: it does, if any free launcher does in time.

        If `sure`, that machine's order is to run until the end.
        """
        launcher, holds = self._choose(draw, sure)
        try:
            yield launcher, holds
        finally:
            launcher.lock.release()

    def _choose(self, draw: float, sure: bool) -> tuple[SupervisedServer, bool]:
        deadline = time.monotonic() + (SURE_SECONDS if sure else CHOICE_SECONDS)
        while True:
            free = {one.name: one for one in self._deployment.launchers if not one.lock.locked()}
            found = [one for one in machines.running(self._home, self._run) if one.launcher in free]
            if sure:
                kept = self._kept()
                found = [one for one in found if one.order_id in kept and one.vm not in self._spared]
            if found:
                launcher = free[found[int(draw * len(found))].launcher]
                if launcher.lock.acquire(blocking=False):
                    return launcher, True
            if time.monotonic() > deadline or self._over.wait(POLL_SECONDS):
                launcher = next(iter(free.values()), self._deployment.launchers[0])
                launcher.lock.acquire()
                return launcher, False

    @contextmanager
    def _frozen_machines(self, launcher: SupervisedServer) -> Iterator[list[psutil.Process]]:
        """Freeze every process of a launcher's machines."""
        vms = {one.vm for one in machines.running(self._home, self._run) if one.launcher == launcher.name}
        processes = machines.processes_of(vms, self._home, self._run)
        self._spared |= vms
        with suspended(processes):
            yield processes

    def _kill(self, server: SupervisedServer, what: str) -> None:
        if not server.runs:
            self._ended.append(server.name)
        self._record(what, server.name)
        server.kill()

    def _publish(self, attributes: Mapping[str, str]) -> None:
        """Publish over the emulator's REST interface: a gRPC client does not survive the processes started here."""
        address = self._deployment.environment.variables[PUBSUB]
        url = f"http://{address}/v1/projects/{self._run}/topics/{TOPIC}:publish"
        plain_http.post(url, json={"messages": [{"attributes": dict(attributes)}]}, timeout=30).raise_for_status()

    def _record(self, what: str, *about: object) -> None:
        with self._recording, (self._home / "disruptions.log").open("a") as log:
            self.counts[what] += 1
            log.write(f"{datetime.now(UTC).isoformat()} {what}: {' '.join(map(str, about))}\n")
