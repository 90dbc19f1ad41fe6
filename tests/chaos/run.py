"""A chaos run: a storm of orders, disruptions and faults; then the wait until everything settles; then the check."""

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
from tests.chaos.checker import Verdict, check, expected_texts, unsettled
from tests.chaos.clients import Clients
from tests.chaos.deployment import Deployment, deployed
from tests.chaos.disruptions import Disruptions
from tests.chaos.observations import Remains
from tests.chaos.orphans import Ages, orphans
from tests.chaos.report import Failure, Report
from tests.chaos.schedule import (
    Action,
    CancelOrder,
    Download,
    FreezeLauncher,
    KillFunctions,
    KillLauncher,
    KillMachine,
    PlaceOrder,
    PublishMalformed,
    Purge,
    RepeatBell,
    Requeue,
    Terms,
    Timed,
    last,
    plan,
)
from tests.harness.processes import ignore_signals

WORKERS: Final = 48
"""How many actions are carried out at the same time: they mostly wait for answers, and for frozen launchers."""
POLL_SECONDS: Final = 2.0


def run(terms: Terms, home: Path, settle_seconds: float) -> Report:
    """Raises StartFailed if the deployment, or a server that was killed, cannot be started."""
    home.mkdir(parents=True)
    with deployed(home, terms) as deployment:
        variables = deployment.environment.variables
        with ControlPlane(variables["LAUNCHYARD_URL"], variables["LAUNCHYARD_CLIENT_KEY"]) as api, _ending() as over:
            clients = Clients(api, over)
            disruptions = Disruptions(deployment, over, clients.kept)
            with _Storm(clients, disruptions, over) as storm:
                storm.run(plan(terms), terms.seconds)
                deployment.end_faults()
                begun = time.monotonic()
                settling = _Settling(deployment, clients, disruptions)
                storm.await_end(settle_seconds, settling.observe)
                disruptions.kill_launcher(0, 0, sure=True)  # nothing else happens now: its machines are adopted
                clients.place(last(terms))
                remains, verdict = settling.run(begun + settle_seconds, over)
            settled = time.monotonic() - begun
        return _report(deployment, disruptions, settled, remains, verdict)


@contextmanager
def _ending() -> Iterator[threading.Event]:
    over = threading.Event()
    try:
        yield over
    finally:
        over.set()


class _Storm:
    """Carries out a schedule. `over` ends every action that is under way."""

    def __init__(self, clients: Clients, disruptions: Disruptions, over: threading.Event) -> None:
        self._clients, self._disruptions, self._over = clients, disruptions, over
        self._pool = ThreadPoolExecutor(WORKERS)
        self._under_way: list[Future[None]] = []

    def __enter__(self) -> "_Storm":
        return self

    def __exit__(self, *_: object) -> None:
        ignore_signals()  # an action that is under way may be starting a server
        self._over.set()
        self._pool.shutdown(cancel_futures=True)

    def run(self, schedule: Sequence[Timed], seconds: float) -> None:
        """Begin each action at its time; return when the storm has lasted so long."""
        begun = time.monotonic()
        for timed in schedule:
            self._over.wait(max(0.0, begun + timed.at - time.monotonic()))
            self._under_way.append(self._pool.submit(self._carry_out, timed.action))
        self._over.wait(max(0.0, begun + seconds - time.monotonic()))

    def await_end(self, seconds: float, observe: Callable[[], object]) -> None:
        """Wait until every action has ended, at most so long, and observe meanwhile. Raises what an action raised."""
        deadline = time.monotonic() + seconds
        while wait(self._under_way, POLL_SECONDS).not_done and time.monotonic() < deadline:
            observe()
        for future in (future for future in self._under_way if future.done()):
            future.result()

    def _carry_out(self, action: Action) -> None:
        match action:
            case PlaceOrder(planned):
                self._clients.place(planned)
            case CancelOrder(planned):
                self._clients.cancel(planned)
            case Requeue(draw, sure):
                self._clients.requeue(draw, sure)
            case Purge(draw, sure):
                self._clients.purge(draw, sure)
            case Download(draw, sure):
                self._clients.download(draw, sure)
            case KillLauncher(draw, pause, sure):
                self._disruptions.kill_launcher(draw, pause, sure)
            case FreezeLauncher(draw, seconds, with_machines, sure):
                self._disruptions.freeze_launcher(draw, seconds, with_machines, sure)
            case KillMachine(draw):
                self._disruptions.kill_machine(draw)
            case KillFunctions(pause):
                self._disruptions.kill_functions(pause)
            case RepeatBell(draw):
                if placed := self._clients.placed():
                    planned, order_id = placed[int(draw * len(placed))]
                    self._disruptions.repeat_bell(Bell(order_id, lane(planned.spec)))
            case PublishMalformed(number):
                self._disruptions.publish_malformed(number)


class _Settling:
    """Observe until everything is in its expected state."""

    def __init__(self, deployment: Deployment, clients: Clients, disruptions: Disruptions) -> None:
        self._deployment, self._clients, self._disruptions = deployment, clients, disruptions
        self._ages = Ages()

    def run(self, deadline: float, over: threading.Event) -> tuple[Remains, Verdict]:
        """Return the last observation and its verdict: no violation may pass any more, or the deadline has passed."""
        while True:
            out_of_time = time.monotonic() > deadline
            remains = self.observe()
            if out_of_time or not unsettled(remains.asked, remains.orders, remains.keys):
                remains = self._with_what_takes_long(remains)
                verdict = check(remains)
                if out_of_time or not verdict.may_pass:
                    return remains, verdict
            over.wait(POLL_SECONDS)

    def observe(self) -> Remains:
        """Return everything but what takes long to read."""
        deployment, terms = self._deployment, self._deployment.terms
        processes = tuple(seen for _, seen in machines.processes(deployment.home, terms.run))
        directories = tuple(machines.directories(deployment.home))
        stored = deployment.store.read()
        self._ages.observe(time.monotonic(), orphans(stored.orders.values(), processes, directories))
        return Remains(
            asked=self._clients.asked(),
            orders=stored.orders,
            keys=stored.keys,
            objects={},
            processes=processes,
            directories=directories,
            ended=tuple(self._disruptions.ended_by_themselves()),
            requeues=self._clients.requeues(),
            purges=self._clients.purges(),
            downloads=self._clients.downloads(),
            storm_seconds=terms.seconds,
            lease=terms.lease,
            ages=self._ages.longest,
        )

    def _with_what_takes_long(self, remains: Remains) -> Remains:
        environment = self._deployment.environment
        effects = evidence.effects(environment.logs, remains.orders.values())
        return replace(remains, objects=environment.objects(), effects=effects)


def _report(
    deployment: Deployment, disruptions: Disruptions, settled: float, remains: Remains, verdict: Verdict
) -> Report:
    texts, logs = expected_texts(remains), deployment.environment.logs
    failures = tuple(
        Failure(order.id, texts.get(order.id, ""), str(order.reason), order.attempt, order.message or "")
        for order in remains.orders.values()
        if order.state is State.FAILED
    )
    return Report(
        terms=deployment.terms,
        settled=settled,
        verdict=verdict,
        effects=remains.effects,
        broken=dict(sorted(disruptions.counts.items())),
        faults=evidence.faults(logs),
        machines_started=evidence.machines_started(logs),
        errors=evidence.errors(logs),
        failures=failures,
    )
