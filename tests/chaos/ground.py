"""The stack that a chaos run breaks: started on ports and in a folder of its own, and stopped whatever happens."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

import httpx
import psutil

from emulators import google, s3, services, source
from emulators.environment import make_environment
from emulators.processes import LOOK_SECONDS, LOOPBACK, accepts, await_ready, free_port, start
from emulators.record import LOGS, Record
from emulators.seeding import seed
from emulators.settings import BUCKET, PROJECT, TOPIC, Backend, StackSettings, free_ports
from shared.wire.bell import Bell, to_attributes
from tests.chaos import machines
from tests.chaos.evidence import LAUNCHER
from tests.chaos.orphans import HEARTBEAT_SECONDS, bound
from tests.chaos.places import Place, keep_going, suspended
from tests.chaos.schedule import MUMBLES, Terms

NAMES: Final = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")
SLOTS: Final = "3"
AIM_SECONDS: Final = 15.0
"""How long a blow waits for a launcher that holds a machine."""
THAW_LATER_SECONDS: Final = 30.0
"""Beyond the time that an orphan may be left: what its launcher does not end by then is found out."""


class Ground:
    """`environment` is the clients': through the HTTP proxy; the store that it names is the emulator itself."""

    def __init__(self, home: Path, terms: Terms) -> None:
        self.home, self.terms = home, terms
        self.logs = home / LOGS
        self.settings = StackSettings.model_validate({"home": home, "backend": Backend.GOOGLE, **free_ports()})
        self.environment = make_environment(self.settings)
        self._functions_port, self._store_proxy_port = free_port(), free_port()
        self._functions = Place("the functions")
        self._launchers = [Place(name) for name in NAMES[: terms.launchers]]
        self._proxies: list[Place] = []
        self._ended: list[str] = []
        self._spared: set[str] = set()
        """Machines that are, or were, frozen: no blow ends them."""
        self._noting = threading.Lock()
        self.done: Counter[str] = Counter()
        """What was broken, and how often."""

    @classmethod
    @contextmanager
    def prepared(cls, home: Path, terms: Terms) -> Iterator[Self]:
        """Yield a ground on which everything runs; stop all of it at the end."""
        ground = cls(home, terms)
        try:
            ground._start()
            yield ground
        finally:
            keep_going()
            ground._stop()

    # --- breaking ---

    def kill_launcher(self, draw: float, pause: float, over: threading.Event) -> None:
        with self._aimed(draw, over) as (place, held):
            self._kill(place, f"launcher killed{'' if held else ' that held nothing'}")
            over.wait(pause)
            self._start_launcher(place)

    def freeze_launcher(self, draw: float, seconds: float, with_machines: bool, over: threading.Event) -> None:
        with ExitStack() as thaw:
            with self._aimed(draw, over) as (place, held), place.frozen():
                # The launcher first: so it starts none meanwhile.
                frozen = thaw.enter_context(self._frozen_machines(place)) if with_machines else []
                past = "past" if seconds > self.terms.lease else "within"
                what = f"launcher{' and its machines' if with_machines else ''} frozen {past} its lease"
                self._note(f"{what}{'' if held else ', that held nothing'}", place.name, seconds)
                over.wait(seconds)
            _await_end(frozen, bound(self.terms.lease) + THAW_LATER_SECONDS, over)

    @contextmanager
    def _frozen_machines(self, place: Place) -> Iterator[list[psutil.Process]]:
        """Freeze all that runs of a launcher's machines; nothing but their launcher ends those until the thaw."""
        vms = {one.vm for one in machines.held(self.home, self.terms.run) if one.launcher == place.name}
        processes = machines.of(vms, self.home, self.terms.run)
        self._spared |= vms
        with suspended(processes):
            yield processes

    def kill_functions(self, pause: float, over: threading.Event) -> None:
        with self._functions.lock:
            self._kill(self._functions, "functions killed")
            over.wait(pause)
            self._start_functions()

    def kill_machine(self, draw: float) -> None:
        found = [one for one in machines.held(self.home, self.terms.run) if one.vm not in self._spared]
        if found:
            victim = found[int(draw * len(found))]
            with suppress(psutil.NoSuchProcess):
                victim.process.kill()
                self._note("machine killed", victim.process.pid, victim.launcher)

    def ring(self, bell: Bell) -> None:
        self._publish(to_attributes(bell))
        self._note("bell repeated", bell.order_id)

    def mumble(self, number: int) -> None:
        self._publish(MUMBLES[number])
        self._note("malformed message", number)

    @contextmanager
    def _aimed(self, draw: float, over: threading.Event) -> Iterator[tuple[Place, bool]]:
        """Yield a launcher, locked, that nobody else breaks, and whether it holds a machine: so it does if any does."""
        place, held = self._aim(draw, over)
        try:
            yield place, held
        finally:
            place.lock.release()

    def _aim(self, draw: float, over: threading.Event) -> tuple[Place, bool]:
        deadline = time.monotonic() + AIM_SECONDS
        while True:
            free = {place.name: place for place in self._launchers if not place.lock.locked()}
            held = [one for one in machines.held(self.home, self.terms.run) if one.launcher in free]
            if held and (place := free[held[int(draw * len(held))].launcher]).lock.acquire(blocking=False):
                return place, True
            if time.monotonic() > deadline or over.wait(LOOK_SECONDS):
                place = next(iter(free.values()), self._launchers[0])
                place.lock.acquire()
                return place, False

    # --- settling ---

    def quiet(self) -> None:
        """End the faults at both proxies."""
        for proxy in self._proxies:
            if proxy.server is not None:
                psutil.Process(proxy.server.pid).send_signal(signal.SIGUSR1)

    def ended(self) -> list[str]:
        """Return the names of what ended although nobody killed it."""
        places = (self._functions, *self._launchers, *self._proxies)
        return self._ended + [place.name for place in places if not place.runs]

    # --- starting and stopping ---

    def _start(self) -> None:
        self._start_stores()
        seed(self.environment)
        store = ["--port", str(self._store_proxy_port), "--upstream", self.environment["FIRESTORE_EMULATOR_HOST"]]
        self._start_proxy("store_proxy", "the store proxy", store, self._store_proxy_port)
        self._start_functions()
        functions = f"http://{LOOPBACK}:{self._functions_port}"
        http = ["--port", str(self.settings.port), "--upstream", functions]
        self._start_proxy("http_proxy", "the HTTP proxy", http, self.settings.port)
        services.start_scheduler(self.logs, self.environment)
        with ThreadPoolExecutor(len(self._launchers)) as pool:
            list(pool.map(self._start_launcher, self._launchers))

    def _start_stores(self) -> None:
        settings, environment = self.settings, self.environment
        key, secret = environment["LAUNCHYARD_S3_ACCESS_KEY_ID"], environment["LAUNCHYARD_S3_SECRET_ACCESS_KEY"]
        starts: list[Callable[[], object]] = [
            lambda: google.start_firestore(settings.firestore_port, self.logs),
            lambda: google.start_pubsub(settings.pubsub_port, self.logs),
            lambda: s3.start_s3(settings.s3_port, self.logs, key, secret, BUCKET),
            lambda: source.start_source(settings.source_port, self.logs),
        ]
        with ThreadPoolExecutor(len(starts)) as pool:
            list(pool.map(lambda begin: begin(), starts))

    def _start_proxy(self, module: str, name: str, options: list[str], port: int) -> None:
        argv = [*services.python(f"tests.chaos.{module}"), *options, "--seed", str(self.terms.seed)]
        proxy = start(name, argv, self.logs / f"{module}.log")
        self._proxies.append(Place(name, server=proxy))
        await_ready(proxy, lambda: accepts(port))

    def _start_functions(self) -> None:
        environment = {
            **self.environment,
            "FIRESTORE_EMULATOR_HOST": f"{LOOPBACK}:{self._store_proxy_port}",
            "LAUNCHYARD_LEASE_SECONDS": f"{self.terms.lease:g}",
        }
        self._functions.server = services.start_functions(self._functions_port, self.logs, environment)

    def _start_launcher(self, place: Place) -> None:
        """Every other launcher hears the doorbell; the rest poll."""
        environment = {
            **self.environment,
            "LAUNCHYARD_PROVIDER": "process",
            "LAUNCHYARD_SLOTS": SLOTS,
            "LAUNCHYARD_VCPUS": SLOTS,  # more than a small host has: what is broken here is not the admission
            "LAUNCHYARD_STATE_DIR": str(self.home.resolve() / "launchers" / place.name),
            "LAUNCHYARD_LAUNCHER_NAME": place.name,
            "LAUNCHYARD_HEARTBEAT_SECONDS": f"{HEARTBEAT_SECONDS:g}",
        }
        if NAMES.index(place.name) % 2:
            environment["LAUNCHYARD_SUBSCRIPTION"] = ""
        place.server = services.start_launcher(self.logs, environment, f"{LAUNCHER}{place.name}")

    def _stop(self) -> None:
        """Launchers first, and at once: told to go, they would hand back what the others then take."""
        for place in (*self._launchers, self._functions):
            place.kill()
        Record(self.home).stop_all()
        for process, _ in machines.processes(self.home, self.terms.run):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _kill(self, place: Place, what: str) -> None:
        if not place.runs:
            self._ended.append(place.name)
        self._note(what, place.name)
        place.kill()

    def _publish(self, attributes: Mapping[str, str]) -> None:
        """Over the emulator's REST interface: a gRPC client would not survive the processes that are started here."""
        url = f"http://{self.environment['PUBSUB_EMULATOR_HOST']}/v1/projects/{PROJECT}/topics/{TOPIC}:publish"
        httpx.post(url, json={"messages": [{"attributes": dict(attributes)}]}, timeout=30).raise_for_status()

    def _note(self, what: str, *about: object) -> None:
        with self._noting, (self.home / "blows.log").open("a") as log:
            self.done[what] += 1
            log.write(f"{datetime.now(UTC).isoformat()} {what}: {' '.join(map(str, about))}\n")


def _await_end(processes: Sequence[psutil.Process], seconds: float, over: threading.Event) -> None:
    """Wait until none of them runs, so long at most."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(map(_runs, processes)):
        if over.wait(LOOK_SECONDS):
            return


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
