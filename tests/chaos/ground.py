"""The stack that a chaos run breaks: started on ports and in a folder of its own, and stopped whatever happens."""

import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import httpx
import psutil

from emulators import google, parts, s3, source
from emulators.environment import make_environment
from emulators.furnishing import furnish
from emulators.processes import LOOK_SECONDS, LOOPBACK, Server, accepts, await_ready, family, free_port, running, start
from emulators.record import LOGS, Record
from emulators.settings import BUCKET, PROJECT, TOPIC, StackSettings
from shared.adapters.s3 import s3_client
from shared.messages import to_attributes
from shared.ports import Bell
from tests.chaos import faults, machines
from tests.chaos.schedule import Terms

NAMES: Final = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")
SLOTS: Final = "3"
HEARTBEAT_SECONDS: Final = "2"
KILL_SECONDS: Final = 10.0
STARTED: Final = b"machine started"
ERROR: Final = re.compile(r'"severity": "(ERROR|CRITICAL)"|^Traceback')


@dataclass
class Place:
    """Where one server runs: killed and started again by one at a time. `server` is None while it is down."""

    name: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    server: Server | None = None


class Ground:
    """`environment` is the clients': through the HTTP proxy; the store that it names is the emulator itself."""

    def __init__(self, home: Path, terms: Terms) -> None:
        self.home, self.terms = home, terms
        self.logs = home / LOGS
        self.settings = StackSettings(
            home=home,
            port=free_port(),
            firestore_port=free_port(),
            pubsub_port=free_port(),
            s3_port=free_port(),
            source_port=free_port(),
        )
        self.environment = make_environment(self.settings)
        self._functions_port, self._store_proxy_port = free_port(), free_port()
        self._functions = Place("the functions")
        self._launchers = [Place(name) for name in NAMES[: terms.launchers]]
        self._proxies: list[Server] = []
        self._ended: list[str] = []
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
            ground._stop()

    # --- breaking ---

    def kill_launcher(self, number: int, pause: float, over: threading.Event) -> None:
        place = self._launchers[number]
        with place.lock:
            self._kill(place, "launcher killed")
            over.wait(pause)
            self._start_launcher(place)

    def freeze_launcher(self, number: int, seconds: float, over: threading.Event) -> None:
        place = self._launchers[number]
        with place.lock, _frozen(place.server):
            past = seconds > self.terms.lease
            self._note(f"launcher frozen {'past' if past else 'within'} its lease", place.name, seconds)
            over.wait(seconds)

    def kill_functions(self, pause: float, over: threading.Event) -> None:
        with self._functions.lock:
            self._kill(self._functions, "functions killed")
            over.wait(pause)
            self._start_functions()

    def kill_machine(self, draw: float) -> None:
        found = [process for process, seen in machines.processes(self.home, self.terms.run) if seen.machine]
        if found:
            victim = found[int(draw * len(found))]
            with suppress(psutil.NoSuchProcess):
                victim.kill()
                self._note("machine killed", victim.pid)

    def ring(self, bell: Bell) -> None:
        self._publish(to_attributes(bell))
        self._note("bell repeated", bell.order_id)

    def mumble(self) -> None:
        self._publish({"order": "none"})
        self._note("malformed message")

    # --- settling ---

    def quiet(self) -> None:
        """End the faults at both proxies."""
        for proxy in self._proxies:
            psutil.Process(proxy.pid).send_signal(signal.SIGUSR1)

    def ended(self) -> list[str]:
        """Return the names of what ended although nobody killed it."""
        servers = {place.name: place.server for place in (self._functions, *self._launchers)}
        servers |= {proxy.name: proxy for proxy in self._proxies}
        return self._ended + [name for name, server in servers.items() if server is None or not running(server)]

    def faults(self) -> dict[str, int]:
        """Return how many faults of each kind both proxies have made, by the proxy's name."""
        return {
            f"{proxy.name.split()[1]}: {fault}": count
            for proxy in self._proxies
            for fault, count in sorted(faults.count(proxy.log.read_bytes()).items())
        }

    def machines_started(self) -> dict[str, int]:
        """Return how many machines each launcher has started."""
        return {
            place.name: (self.logs / f"{_log_name(place)}.log").read_bytes().count(STARTED) for place in self._launchers
        }

    def errors(self) -> dict[str, int]:
        """Return how often the functions and the launchers logged each error."""
        logs = sorted([self.logs / "functions.log", *self.logs.glob("launcher-*.log")])
        found = (f"{log.stem}: {message}" for log in logs for message in _errors(log))
        return dict(sorted(Counter(found).items()))

    def objects(self) -> dict[str, bytes]:
        """Return everything in the bucket."""
        environment = self.environment
        client = s3_client(
            environment["LAUNCHYARD_S3_ENDPOINT"],
            s3.REGION,
            environment["LAUNCHYARD_S3_ACCESS_KEY_ID"],
            environment["LAUNCHYARD_S3_SECRET_ACCESS_KEY"],
        )
        try:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
            keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
            return {key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}
        finally:
            client.close()

    # --- starting and stopping ---

    def _start(self) -> None:
        self._start_stores()
        furnish(self.environment)
        store = ["--port", str(self._store_proxy_port), "--upstream", self.environment["FIRESTORE_EMULATOR_HOST"]]
        self._start_proxy("store_proxy", "the store proxy", store, self._store_proxy_port)
        self._start_functions()
        functions = f"http://{LOOPBACK}:{self._functions_port}"
        http = ["--port", str(self.settings.port), "--upstream", functions]
        self._start_proxy("http_proxy", "the HTTP proxy", http, self.settings.port)
        parts.start_scheduler(self.logs, self.environment)
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
        argv = [*parts.python(f"tests.chaos.{module}"), *options, "--seed", str(self.terms.seed)]
        proxy = start(name, argv, self.logs / f"{module}.log")
        self._proxies.append(proxy)
        await_ready(proxy, lambda: accepts(port))

    def _start_functions(self) -> None:
        environment = {
            **self.environment,
            "FIRESTORE_EMULATOR_HOST": f"{LOOPBACK}:{self._store_proxy_port}",
            "LAUNCHYARD_LEASE_SECONDS": f"{self.terms.lease:g}",
        }
        self._functions.server = parts.start_functions(self._functions_port, self.logs, environment)

    def _start_launcher(self, place: Place) -> None:
        """Every other launcher hears the doorbell; the rest poll."""
        environment = {
            **self.environment,
            "LAUNCHYARD_PROVIDER": "process",
            "LAUNCHYARD_SLOTS": SLOTS,
            "LAUNCHYARD_VCPUS": SLOTS,  # more than a small host has: what is broken here is not the admission
            "LAUNCHYARD_STATE_DIR": str(self.home.resolve() / "launchers" / place.name),
            "LAUNCHYARD_LAUNCHER_NAME": place.name,
            "LAUNCHYARD_HEARTBEAT_SECONDS": HEARTBEAT_SECONDS,
        }
        if NAMES.index(place.name) % 2:
            environment["LAUNCHYARD_SUBSCRIPTION"] = ""
        place.server = parts.start_launcher(self.logs, environment, _log_name(place))

    def _stop(self) -> None:
        """Launchers first, and at once: told to go, they would hand back what the others then take."""
        for place in (*self._launchers, self._functions):
            _end(place)
        Record(self.home).stop_all()
        for process, _ in machines.processes(self.home, self.terms.run):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _kill(self, place: Place, what: str) -> None:
        if place.server is not None and not running(place.server):
            self._ended.append(place.name)
        self._note(what, place.name)
        _end(place)

    def _publish(self, attributes: dict[str, str]) -> None:
        """Over the emulator's REST interface: a gRPC client would not survive the processes that are started here."""
        url = f"http://{self.environment['PUBSUB_EMULATOR_HOST']}/v1/projects/{PROJECT}/topics/{TOPIC}:publish"
        httpx.post(url, json={"messages": [{"attributes": attributes}]}, timeout=30).raise_for_status()

    def _note(self, what: str, *about: object) -> None:
        self.done[what] += 1
        with (self.home / "blows.log").open("a") as log:
            log.write(f"{what}: {' '.join(map(str, about))}\n")


def _end(place: Place) -> None:
    """kill -9 of the server's own session: of the functions' workers, too, but of no machine."""
    if place.server is None:
        return
    deadline = time.monotonic() + KILL_SECONDS
    while (members := _members(place.server)) and time.monotonic() < deadline:
        for process in members:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(LOOK_SECONDS)
    place.server = None


def _members(server: Server) -> list[psutil.Process]:
    return [process for process in family(server) if _session(process) == server.pid]


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None


@contextmanager
def _frozen(server: Server | None) -> Iterator[None]:
    if server is None or not running(server):
        yield
        return
    process = psutil.Process(server.pid)
    process.suspend()
    try:
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            process.resume()


def _errors(log: Path) -> Iterator[str]:
    for line in log.read_text(errors="replace").splitlines():
        if ERROR.search(line):
            try:
                yield str(json.loads(line).get("message"))
            except ValueError:
                yield line[:300]


def _log_name(place: Place) -> str:
    return f"launcher-{place.name}"
