"""The composition root: settings in, a running daemon out."""

import fcntl
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog

from launcher import logs
from launcher.admission import Admission
from launcher.adoption import Adoption
from launcher.bounded import Bounded
from launcher.claims import Claims
from launcher.clock import SYSTEM
from launcher.daemon import DONE, Daemon, Events, Loop
from launcher.doorbell import DoorbellLoop
from launcher.heartbeat import HeartbeatLoop
from launcher.lanes import Lanes, served
from launcher.outage import Outage
from launcher.polling import PollingLoop
from launcher.providers import Providers
from launcher.reconciliation import Reconciliation
from launcher.reports import Reports
from launcher.run import Runner
from launcher.runs import Runs
from launcher.settings import Settings
from launcher.vm import host
from launcher.vm.provider import LaunchFailed
from launcher.vm.resources import Resources
from launcher.wiring import wire_providers
from shared.control_plane import ControlPlane, Refused, Unreachable
from shared.ports import BellListener

BOUNDED_SECONDS: Final = 2.0
"""Between two heartbeats of a launcher that goes once its orders run: that is how it hears of it."""

log = structlog.get_logger()


class StateUnusable(Exception):
    """The state directory cannot be used; the message says why."""


class NotServed(Exception):
    """The launcher cannot begin now; the message says why."""


def serve(settings: Settings) -> int:
    """Run until told to go, or until as many orders were taken as were to be, and return the exit code.

    Raises ModeRefused, StateUnusable, NotServed.
    """
    logs.configure(sys.stdout if settings.most is None else sys.stderr)
    threading.excepthook = _log_failure
    providers = wire_providers(settings)
    key = settings.launcher_key.get_secret_value()
    with _own(settings.state_dir), ControlPlane(settings.url, key) as control_plane:
        events = Events()
        events.hear_signals()
        names = [provider.name for provider in providers.all()]
        log.info("launcher starts", name=settings.launcher_name, providers=names, slots=settings.slots)
        try:
            return _run(settings, providers, control_plane, events)
        except (Unreachable, Refused, LaunchFailed) as error:
            raise NotServed(str(error)) from error


def _run(settings: Settings, providers: Providers, control_plane: ControlPlane, events: Events) -> int:
    """Raises Unreachable, Refused, LaunchFailed, NotServed."""
    name, attended = settings.launcher_name, settings.most is None
    admission = _admission(settings)
    lanes = _fitting(settings, providers, admission)
    runner = Runner(
        launcher=name,
        control_plane=settings.url,
        sources=settings.sources,
        state=settings.state_dir,
        providers=providers,
        reports=Reports(control_plane, SYSTEM),
        rest=admission.rest,
    )
    runs = Runs(runner.run, admission, SYSTEM, _silent if attended else _say)
    claims = Claims(control_plane, name, lanes, attended)
    every = settings.heartbeat_seconds if attended else min(settings.heartbeat_seconds, BOUNDED_SECONDS)
    heartbeat = HeartbeatLoop(control_plane, name, runs, every, _outage("heartbeats"), SYSTEM, attended)
    reconciliation = Reconciliation(control_plane, name, runs, _outage("what is held"), SYSTEM)
    polling = PollingLoop(claims, runs, admission, _outage("claims"), SYSTEM, settings.poll_seconds)
    bounded = None
    if settings.most is not None:
        bounded = Bounded(polling, claims, runs, admission, settings.most, settings.one_shot)
        take: Loop = bounded.run
    elif settings.subscription is not None:
        listener = _listener(settings.subscription)
        take = DoorbellLoop(listener, claims, runs, admission, _outage("claims"), SYSTEM).run
    else:
        log.info("no subscription: claiming over HTTPS")
        take = polling.run

    def adopt() -> None:
        states = None if attended else reconciliation.states()
        leases = reconciliation.renew_if_answered() if attended else reconciliation.renew(attended)
        Adoption(runner, runs, admission, states, leases).run()

    def intake() -> None:
        reconciliation.run(admission.closed)
        reconciliation.reap_strays(providers)
        take()
        events.put(DONE)

    daemon = Daemon(adopt, admission, runs, intake, heartbeat, settings.drain_seconds, attended, settings.supervision)
    return daemon.run(events) or int(bounded is not None and bounded.failed)


def _outage(asked: str) -> Outage:
    return Outage(SYSTEM.monotonic, asked=asked)


def _admission(settings: Settings) -> Admission:
    whole = Resources(
        machines=settings.slots,
        memory_mib=settings.memory_mib,
        vcpus=settings.vcpus,
        tdx_keys=host.tdx_keys(),
        gpus=len(settings.llm_gpus),
    )
    log.info("resources", this_host_has=whole.model_dump())
    state = settings.state_dir
    return Admission(state, whole, lambda: host.free_disk_mib(state), SYSTEM.monotonic)


def _fitting(settings: Settings, providers: Providers, admission: Admission) -> Lanes:
    """Return the lanes of which at least one machine would fit this host. Raises NotServed where none are to be had."""
    asked = served(providers, settings.datacenter, settings.node_size, work=settings.most is None)
    fitting = tuple(lane for lane in asked if admission.fits(lane.need))
    for lane in asked:
        said = {"lane": lane.name, "provider": lane.provider, "a_machine_needs": lane.need.model_dump()}
        if lane in fitting:
            log.info("lane served", room=admission.room(lane), **said)
        else:
            log.warning("no machine of a lane fits this host: it is not served", **said)
    if not fitting and settings.most is not None:
        raise NotServed("No machine for such an order fits this host.")
    if not fitting:
        log.error("no machine fits this host: no order is taken")
    return Lanes(fitting)


def _listener(subscription: str) -> BellListener:
    # Imported here: a launcher that polls does not need it, and it takes the better part of a second.
    from google.cloud.pubsub_v1 import SubscriberClient

    from shared.adapters.pubsub import PubSubListener

    return PubSubListener(SubscriberClient(), subscription)


@contextmanager
def _own(state: Path) -> Iterator[None]:
    """Keep the state directory to this one daemon: another's machines would be adopted."""
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (state / "lock").open("w")
    except OSError as error:
        raise StateUnusable(f"{state} cannot be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise NotServed(f"{state} is in use by another launcher.") from error
        yield


def _say(line: str) -> None:
    """Past Python's buffer, which would keep what cannot be written, and fail again at the end."""
    try:
        os.write(sys.stdout.fileno(), f"{line}\n".encode())
    except OSError as error:
        log.warning("nobody reads what is said", line=line, error=error.strerror)


def _silent(_line: str) -> None:
    """Say nothing: a daemon is heard by its log."""


def _log_failure(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is not None:
        name = failure.thread.name if failure.thread else None
        log.critical("a thread failed", thread=name, exc_info=failure.exc_value)
