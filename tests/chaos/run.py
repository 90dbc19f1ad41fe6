"""A chaos run: a storm of orders, blows and faults; then quiet, until all has come to rest; then the check."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from shared.client import ControlPlane
from shared.domain.lanes import lane
from shared.domain.order import State
from shared.wire.bell import Bell
from tests.chaos import evidence, machines
from tests.chaos.checker import Verdict, check, texts, unsettled
from tests.chaos.clients import Clients
from tests.chaos.ground import Ground
from tests.chaos.observations import Remains
from tests.chaos.orphans import Ages, orphans
from tests.chaos.places import keep_going
from tests.chaos.report import Failure, Report
from tests.chaos.schedule import (
    Action,
    Again,
    Cancel,
    Download,
    FreezeLauncher,
    KillFunctions,
    KillLauncher,
    KillMachine,
    Mumble,
    Place,
    Purge,
    RingAgain,
    Terms,
    Timed,
    last,
    plan,
)
from tests.chaos.store_reader import read_store

WORKERS: Final = 48
"""What is done at once: mostly waiting for answers, and for frozen launchers."""
LOOK_SECONDS: Final = 2.0


def run(terms: Terms, home: Path, settle_seconds: float) -> Report:
    """Raises StartFailed where the ground could not be prepared, or a server not be started again."""
    home.mkdir(parents=True)
    with Ground.prepared(home, terms) as ground:
        url, key = ground.environment["LAUNCHYARD_URL"], ground.environment["LAUNCHYARD_CLIENT_KEY"]
        with ControlPlane(url, key) as api, _ending() as over:
            clients = Clients(api, over)
            with _Storm(ground, clients, over) as storm:
                storm.rage(plan(terms))
                ground.quiet()
                begun = time.monotonic()
                settling = _Settling(ground, clients)
                storm.abate(settle_seconds, settling.look)
                clients.place(last(terms))
                remains, verdict = settling.run(begun + settle_seconds)
            settled = time.monotonic() - begun
        return _report(ground, settled, remains, verdict)


@contextmanager
def _ending() -> Iterator[threading.Event]:
    over = threading.Event()
    try:
        yield over
    finally:
        over.set()


class _Storm:
    """Carries out a schedule. `over` ends whatever is still under way."""

    def __init__(self, ground: Ground, clients: Clients, over: threading.Event) -> None:
        self._ground, self._clients, self._over = ground, clients, over
        self._pool = ThreadPoolExecutor(WORKERS)
        self._under_way: list[Future[None]] = []

    def __enter__(self) -> "_Storm":
        return self

    def __exit__(self, *_: object) -> None:
        keep_going()  # what is under way may be starting a server still
        self._over.set()
        self._pool.shutdown(cancel_futures=True)

    def rage(self, schedule: Sequence[Timed]) -> None:
        """Begin each action at its time; return when the last has begun."""
        begun = time.monotonic()
        for timed in schedule:
            self._over.wait(max(0.0, begun + timed.at - time.monotonic()))
            self._under_way.append(self._pool.submit(self._carry_out, timed.action))
        left = self._ground.terms.seconds - (time.monotonic() - begun)
        self._over.wait(max(0.0, left))

    def abate(self, seconds: float, look: Callable[[], object]) -> None:
        """Wait until all that was begun is done, so long at most, and look meanwhile. Raises what went wrong."""
        deadline = time.monotonic() + seconds
        while wait(self._under_way, LOOK_SECONDS).not_done and time.monotonic() < deadline:
            look()
        for future in (future for future in self._under_way if future.done()):
            future.result()

    def _carry_out(self, action: Action) -> None:
        match action:
            case Place(wanted):
                self._clients.place(wanted)
            case Cancel(wanted):
                self._clients.cancel(wanted)
            case Again(draw):
                self._clients.requeue(draw)
            case Purge(draw):
                self._clients.purge(draw)
            case Download(draw):
                self._clients.download(draw)
            case KillLauncher(draw, pause):
                self._ground.kill_launcher(draw, pause, self._over)
            case FreezeLauncher(draw, seconds, with_machines):
                self._ground.freeze_launcher(draw, seconds, with_machines, self._over)
            case KillMachine(draw):
                self._ground.kill_machine(draw)
            case KillFunctions(pause):
                self._ground.kill_functions(pause, self._over)
            case RingAgain(draw):
                self._ring_again(draw)
            case Mumble(number):
                self._ground.mumble(number)

    def _ring_again(self, draw: float) -> None:
        placed = self._clients.placed()
        if placed:
            wanted, order_id = placed[int(draw * len(placed))]
            self._ground.ring(Bell(order_id, lane(wanted.spec)))


class _Settling:
    """Looks until all is as it is to be."""

    def __init__(self, ground: Ground, clients: Clients) -> None:
        self._ground, self._clients, self._ages = ground, clients, Ages()

    def run(self, deadline: float) -> tuple[Remains, Verdict]:
        """Return the last look, and what was wrong then: nothing that would have passed, or the deadline has."""
        while True:
            out_of_time = time.monotonic() > deadline
            remains = self.look()
            if out_of_time or not unsettled(remains.asked, remains.orders, remains.keys):
                remains = self._whole(remains)
                verdict = check(remains)
                if out_of_time or not verdict.may_pass:
                    return remains, verdict
            time.sleep(LOOK_SECONDS)

    def look(self) -> Remains:
        """Return all but what takes long to read."""
        ground, terms = self._ground, self._ground.terms
        processes = tuple(seen for _, seen in machines.processes(ground.home, terms.run))
        directories = tuple(machines.directories(ground.home))
        stored = read_store(ground.environment)
        self._ages.look(time.monotonic(), orphans(stored.orders.values(), processes, directories))
        return Remains(
            asked=self._clients.asked(),
            orders=stored.orders,
            keys=stored.keys,
            objects={},
            processes=processes,
            directories=directories,
            ended=tuple(ground.ended()),
            requeues=self._clients.requeues(),
            purges=self._clients.purges(),
            downloads=self._clients.downloads(),
            storm_seconds=terms.seconds,
            lease=terms.lease,
            ages=self._ages.longest,
        )

    def _whole(self, remains: Remains) -> Remains:
        return replace(
            remains,
            objects=evidence.objects(self._ground.environment),
            effects=evidence.effects(self._ground.logs, remains.orders.values()),
        )


def _report(ground: Ground, settled: float, remains: Remains, verdict: Verdict) -> Report:
    said = texts(remains)
    failures = tuple(
        Failure(order.id, said.get(order.id, ""), str(order.reason), order.attempt, order.message or "")
        for order in remains.orders.values()
        if order.state is State.FAILED
    )
    return Report(
        terms=ground.terms,
        settled=settled,
        verdict=verdict,
        effects=remains.effects,
        broken=dict(sorted(ground.done.items())),
        faults=evidence.faults(ground.logs),
        machines_started=evidence.machines_started(ground.logs),
        errors=evidence.errors(ground.logs),
        failures=failures,
    )
