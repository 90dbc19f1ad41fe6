"""The composition root: settings in, a running daemon out."""

import errno
import fcntl
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import structlog
from pydantic import ValidationError

from launcher.daemon import logs
from launcher.daemon.bell import DoorbellLoop
from launcher.daemon.bells import BellListener
from launcher.daemon.daemon import DONE, Daemon, Events, Loop
from launcher.daemon.heartbeat import HeartbeatLoop
from launcher.daemon.limited import Bounded
from launcher.daemon.poll import PollingLoop
from launcher.daemon.state_directory import identity_in
from launcher.host import facts as host
from launcher.host.clock import SYSTEM
from launcher.machines.port import LaunchFailed
from launcher.machines.records import VmLease
from launcher.machines.resources import Resources
from launcher.orders.admission import Admission
from launcher.orders.adoption import Adoption, holds_in
from launcher.orders.assignments import Runs
from launcher.orders.attempt import Runner
from launcher.orders.claims import Claims
from launcher.orders.lanes import Lanes, served
from launcher.orders.outage import Outage
from launcher.orders.reconciliation import Reconciliation
from launcher.orders.reports import Reports
from launcher.providers.registry import Providers
from launcher.settings import Settings
from launcher.wiring import wire_providers
from shared.client import ControlPlane, Refused, Unreachable
from shared.domain.order import State
from shared.lines import Lines
from shared.trust import private_authorities
from shared.wire.launchers import Hold

BOUNDED_SECONDS: Final = 2.0
"""Between two heartbeats of a launcher that goes once its orders run: that is how it hears of it."""
FOR_A_PERSON: Final = frozenset(
    {
        errno.EACCES,
        errno.EEXIST,
        errno.EINVAL,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOTDIR,
        errno.EPERM,
    }
)
"""What stays as it is until somebody changes the state directory. Any other error, such as a full disk, may pass."""

log = structlog.get_logger()


class StateUnusable(Exception):
    """The state directory cannot be used until somebody changes it; the message says why."""


class NotServed(Exception):
    """The launcher cannot begin now, and may later; the message says why."""


def serve(settings: Settings) -> int:
    """Run until told to go, or until as many orders were taken as were to be, and return the exit code.

    Raises ModeRefused, TrialImpossible, CloudRefused, StateUnusable, NotServed, SettingsWrong.
    """
    logs.configure(sys.stdout if settings.most is None else sys.stderr)
    threading.excepthook = _log_failure
    with _own(settings.state_dir) as identity:
        providers = wire_providers(settings, identity)
        key = settings.launcher_key.get_secret_value()
        with ControlPlane(settings.url, key, identity=identity) as control_plane:
            return _begin(settings, providers, control_plane, identity)


def _begin(settings: Settings, providers: Providers, control_plane: ControlPlane, identity: str) -> int:
    """Raises StateUnusable, NotServed."""
    events = Events()
    events.hear_signals()
    names = [provider.name for provider in providers.all()]
    name = settings.launcher_name
    log.info("launcher starts", name=name, identity=identity, providers=names, slots=settings.slots)
    try:
        return _run(settings, providers, control_plane, events)
    except (Unreachable, Refused, LaunchFailed) as error:
        raise NotServed(str(error)) from error
    except OSError as error:
        raise _unusable("The launcher cannot go on with what is there", error) from error
    except ValidationError as error:  # of what is sent or was kept: no setting is wrong
        log.exception("the launcher has failed")
        raise NotServed("The launcher has failed; its log says how.") from error


def _run(settings: Settings, providers: Providers, control_plane: ControlPlane, events: Events) -> int:
    """Raises Unreachable, Refused, LaunchFailed, NotServed, OSError, ValidationError."""
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
        authorities=private_authorities(),
    )
    runs = Runs(runner.run, admission, SYSTEM, _silent if attended else _sayer())
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
        here = holds_in(settings.state_dir)
        states: Mapping[Hold, State | str] | None = None
        leases: Mapping[Hold, VmLease]
        if attended:
            leases = reconciliation.renew_if_answered(here)
        else:
            states = reconciliation.states()
            leases = reconciliation.renew(here, attended)
        Adoption(runner, runs, admission, states, leases).run()
        if bounded is not None:  # before the first heartbeat says what runs by now
            bounded.count_what_boots()

    def intake() -> None:
        reconciliation.run(admission.closed)
        reconciliation.delete_strays(providers, admission.closed)
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

    from launcher.daemon.pubsub import PubSubListener

    return PubSubListener(SubscriberClient(), subscription)


@contextmanager
def _own(state: Path) -> Iterator[str]:
    """Keep the state directory to this one daemon: another's machines would be adopted. Yield its identity.

    Raises StateUnusable, NotServed.
    """
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (state / "lock").open("w")
    except OSError as error:
        raise _unusable(f"{state} cannot be written", error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            identity = identity_in(state, lambda: str(uuid4()))
        except BlockingIOError as error:
            raise NotServed(f"{state} is in use by another launcher.") from error
        except OSError as error:
            raise _unusable(f"{state} cannot be locked and written", error) from error
        yield identity


def _unusable(what: str, error: OSError) -> StateUnusable | NotServed:
    """Return what a supervisor must know: whether it can help to try again."""
    kind = StateUnusable if error.errno in FOR_A_PERSON else NotServed
    where = f" ({error.filename})" if error.filename else ""
    return kind(f"{what}: {error.strerror or error}{where}")


def _sayer() -> Callable[[str], None]:
    """Return what tells whoever started the launcher, on standard output."""
    lines = Lines(lambda: sys.stdout)

    def say(line: str) -> None:
        lines.write(f"{line}\n")
        if lines.lost:
            log.warning("nobody reads what is said", line=line)

    return say


def _silent(_line: str) -> None:
    """Say nothing: a daemon is heard by its log."""


def _log_failure(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is not None:
        name = failure.thread.name if failure.thread else None
        log.critical("a thread failed", thread=name, exc_info=failure.exc_value)
