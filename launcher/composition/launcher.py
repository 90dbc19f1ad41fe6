"""Makes a launcher of its settings, and runs it."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

import structlog
from pydantic import ValidationError

from launcher.composition.providers import providers_of
from launcher.daemon import logs
from launcher.daemon.bell import DoorbellLoop
from launcher.daemon.bells import BellListener
from launcher.daemon.daemon import Daemon, Events, Loop, Occurrence, start_loop
from launcher.daemon.heartbeat import HeartbeatLoop
from launcher.daemon.limited import Limited, log_only, printer
from launcher.daemon.poll import PollingLoop
from launcher.daemon.state_directory import CannotRunNow, failure, locked
from launcher.host import facts
from launcher.host.clock import SYSTEM
from launcher.machines.port import LaunchFailed
from launcher.machines.resources import Resources
from launcher.orders.admission import Admission
from launcher.orders.adoption import Adoption, holds_in
from launcher.orders.assignments import Assignments
from launcher.orders.attempt import AttemptRunner
from launcher.orders.claims import WAIT_SECONDS, OrderClaimer
from launcher.orders.lanes import Lanes, served
from launcher.orders.mode import Mode
from launcher.orders.outage import Outage
from launcher.orders.reconciliation import Reconciliation
from launcher.orders.reports import ReportSender
from launcher.providers.registry import Providers
from launcher.settings import LauncherSettings
from shared.client import ControlPlane
from shared.client_errors import Refused, Unreachable
from shared.log_events import LogEvent
from shared.trust import private_authorities

SHARED_SECONDS: Final = 2.0
"""Seconds between two claims that brought nothing if two loops share this host's room, so that neither waits in one."""

log = structlog.get_logger()


def serve(settings: LauncherSettings) -> int:
    """Run a launcher until a signal stops it, or until it has taken its limit of orders; return the exit code.

    Raises ModeRefused, TrialImpossible, CloudRefused, StateUnusable, CannotRunNow, SettingsWrong.
    """
    logs.configure(sys.stdout if settings.mode is Mode.DAEMON else sys.stderr)
    logs.log_thread_failures()
    with locked(settings.state_dir) as identity:
        key = settings.launcher_key.get_secret_value()
        with ExitStack() as opened:
            control_plane = opened.enter_context(ControlPlane(settings.url, key, identity=identity))
            providers = providers_of(settings, identity, control_plane)
            opened.enter_context(_failures_explained())
            events = Events()
            events.receive_signals()
            log.info(
                LogEvent.LAUNCHER_STARTED,
                message="The launcher starts.",
                name=settings.launcher_name,
                identity=identity,
                mode=settings.mode.value,
                providers=[provider.name for provider in providers.all()],
                slots=settings.slots,
            )
            run = _run_daemon if settings.mode is Mode.DAEMON else _run_limited
            return run(_composed(settings, providers, control_plane), events)


@dataclass(frozen=True, slots=True)
class _Launcher:
    """The objects that launchers of every mode need."""

    settings: LauncherSettings
    providers: Providers
    admission: Admission
    runner: AttemptRunner
    assignments: Assignments
    claims: OrderClaimer
    heartbeat: HeartbeatLoop
    reconciliation: Reconciliation
    polling: PollingLoop
    paced_lanes: Lanes
    """The lanes whose provider limits how many machines may be starting at once: `paced` claims their orders."""
    paced: PollingLoop

    def daemon(self, adopt: Loop, take: Loop, events: Events) -> Daemon:
        def intake() -> None:
            self.reconciliation.run(self.admission.closed)
            self.reconciliation.delete_strays(self.providers, self.admission.closed)
            paced = start_loop(self.paced.run, "paced intake", events) if self.paced_lanes.names else None
            take()
            if paced is not None:
                paced.join()
            events.put(Occurrence.DONE)

        return Daemon(
            adopt=adopt,
            admission=self.admission,
            assignments=self.assignments,
            intake=intake,
            heartbeat=self.heartbeat,
            drain_seconds=self.settings.drain_seconds,
            mode=self.settings.mode,
            supervision=self.settings.supervision,
        )


def _composed(settings: LauncherSettings, providers: Providers, control_plane: ControlPlane) -> _Launcher:
    """Make the objects of a launcher. Raises CannotRunNow."""
    name, mode = settings.launcher_name, settings.mode
    admission = admission_of(settings)
    lanes = admission.fitting(served(providers, settings.datacenter, settings.node_size, mode, settings.labels))
    if not lanes.names and mode is not Mode.DAEMON:
        raise CannotRunNow("No machine for such an order fits this host.")
    runner = AttemptRunner(
        launcher=name,
        control_plane=settings.url,
        sources=settings.sources,
        state=settings.state_dir,
        providers=providers,
        reports=ReportSender(control_plane, SYSTEM),
        rest=admission.rest,
        authorities=private_authorities(),
        executor=settings.executor_config,
    )
    assignments = Assignments(runner.run, admission, SYSTEM, log_only if mode is Mode.DAEMON else printer())
    claims = OrderClaimer(control_plane, name, lanes.unpaced, mode)

    shared = bool(lanes.paced.names and lanes.unpaced.names)
    every, wait_seconds = (
        (settings.poll_seconds or SHARED_SECONDS, 0) if shared else (settings.poll_seconds, WAIT_SECONDS)
    )

    def polling(claims: OrderClaimer) -> PollingLoop:
        return PollingLoop(claims, assignments, admission, _outage("claims"), SYSTEM, every, wait_seconds)

    return _Launcher(
        settings=settings,
        providers=providers,
        admission=admission,
        runner=runner,
        assignments=assignments,
        claims=claims,
        heartbeat=HeartbeatLoop(
            control_plane, name, assignments, settings.heartbeat_seconds, _outage("heartbeats"), SYSTEM, mode
        ),
        reconciliation=Reconciliation(control_plane, name, assignments, _outage("what is held"), SYSTEM),
        polling=polling(claims),
        paced_lanes=lanes.paced,
        paced=polling(OrderClaimer(control_plane, name, lanes.paced, mode)),
    )


def _run_daemon(launcher: _Launcher, events: Events) -> int:
    """Run until a signal stops it. Raises LaunchFailed, OSError, ValidationError."""
    subscription = launcher.settings.subscription if launcher.claims.lanes.names else None
    if subscription is None:
        log.info(
            LogEvent.POLLING, message="There is no subscription for its lanes: the launcher claims orders over HTTPS."
        )
        take: Loop = launcher.polling.run
    else:
        listener, outage = _listener(subscription), _outage("claims")
        take = DoorbellLoop(
            listener, launcher.claims, launcher.assignments, launcher.admission, outage, SYSTEM, launcher.paced_lanes
        ).run

    def adopt() -> None:
        leases = launcher.reconciliation.renew_if_answered(holds_in(launcher.settings.state_dir))
        Adoption(launcher.runner, launcher.assignments, launcher.admission, None, leases).run()

    return launcher.daemon(adopt, take, events).run(events)


def _run_limited(launcher: _Launcher, events: Events) -> int:
    """Take the limit of orders, and exit once they run. Raises Unreachable, Refused, LaunchFailed, OSError."""
    mode, limit = launcher.settings.mode, launcher.settings.limit
    limited = Limited(launcher.polling, launcher.claims, launcher.assignments, launcher.admission, limit, mode)

    def adopt() -> None:
        here = holds_in(launcher.settings.state_dir)
        states = launcher.reconciliation.states()
        leases = launcher.reconciliation.renew(here, mode)
        Adoption(launcher.runner, launcher.assignments, launcher.admission, states, leases).run()
        limited.count_booting()  # before the first heartbeat, whose answer changes which orders run

    return launcher.daemon(adopt, limited.run, events).run(events) or int(limited.failed)


def admission_of(settings: LauncherSettings) -> Admission:
    """Return the admission of this host, as the settings limit it."""
    whole = Resources(
        machines=settings.slots,
        memory_mib=settings.memory_mib,
        vcpus=settings.vcpus,
        tdx_keys=facts.tdx_keys(),
        gpus=len(settings.llm_gpus),
        sessions=settings.max_sessions or settings.slots,
    )
    log.info(LogEvent.RESOURCES, message="This host has room for machines.", whole=whole.model_dump())
    state = settings.state_dir
    return Admission(state, whole, lambda: facts.free_disk_mib(state), SYSTEM.monotonic)


def _outage(requests: str) -> Outage:
    """Each kind of request has an outage of its own."""
    return Outage(SYSTEM.monotonic, requests=requests)


def _listener(subscription: str) -> BellListener:
    """Return what pulls the subscription's bells. Raises CannotRunNow."""
    # Imported here: it takes most of a second, and a launcher that polls does not need it.
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.pubsub_v1 import SubscriberClient

    from launcher.daemon.pubsub import PubSubListener

    try:
        return PubSubListener(SubscriberClient(), subscription)
    except GoogleAuthError as error:  # its text may repeat a token
        raise CannotRunNow(
            f"Google's credentials cannot be used ({type(error).__name__}): look at GOOGLE_APPLICATION_CREDENTIALS and "
            "at the file of the token that it names, or unset LAUNCHYARD_SUBSCRIPTION to poll."
        ) from None


@contextmanager
def _failures_explained() -> Iterator[None]:
    """Convert the errors that end a launcher to StateUnusable or CannotRunNow."""
    try:
        yield
    except (Unreachable, Refused, LaunchFailed) as error:
        raise CannotRunNow(str(error)) from error
    except OSError as error:
        raise failure("The launcher cannot go on with its state directory", error) from error
    except ValidationError as error:  # of a received or stored document: no setting is wrong
        log.exception(LogEvent.LAUNCHER_FAILED, message="The launcher has failed on an invalid document.")
        raise CannotRunNow("The launcher has failed; its log says how.") from error
