"""The composition root: turns settings into a running launcher."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
from pydantic import ValidationError

from launcher.daemon import logs
from launcher.daemon.bell import DoorbellLoop
from launcher.daemon.bells import BellListener
from launcher.daemon.daemon import Daemon, Events, Loop, Occurrence, start_loop
from launcher.daemon.heartbeat import HeartbeatLoop
from launcher.daemon.limited import Limited, log_only, printer
from launcher.daemon.poll import PollingLoop
from launcher.daemon.state_directory import CannotRunNow, failure, locked
from launcher.host import facts
from launcher.host.checks import network
from launcher.host.checks.host import Host
from launcher.host.clock import SYSTEM
from launcher.host.guest_network import Enforcement
from launcher.host.probe import probe
from launcher.machines.port import LaunchFailed, Provider
from launcher.machines.remote.marks import Owner
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
from launcher.providers.fly.provider import FlyProvider
from launcher.providers.process.provider import ProcessProvider
from launcher.providers.qemu.provider import QemuProvider
from launcher.providers.registry import Providers, cloud
from launcher.settings import Cloud, LauncherSettings, ProviderName
from shared.client import ControlPlane
from shared.client_errors import Refused, Unreachable
from shared.log_events import LogEvent
from shared.settings import SettingsWrong
from shared.trust import private_authorities
from shared.wire.launchers import EnvironmentAnswer, EnvironmentRequest, Hold

SHARED_SECONDS: Final = 2.0
"""Seconds between two claims that brought nothing if two loops share this host's room, so that neither waits in one."""

log = structlog.get_logger()


class CloudRefused(Exception):
    """A cloud refuses requests from this host; the message says why."""


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
            events.hear_signals()
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


def providers_of(settings: LauncherSettings, identity: str, control_plane: ControlPlane) -> Providers:
    """Return the enabled providers. Raises ModeRefused, TrialImpossible, CloudRefused, SettingsWrong."""
    by_cloud: dict[str, Provider] = {}
    of_work: dict[Cloud, Provider] = {}
    if Cloud.BAREMETAL in settings.providers:
        of_work[Cloud.BAREMETAL] = by_cloud[Cloud.BAREMETAL] = _local_provider(settings)
        if settings.datacenter is not None:
            by_cloud[cloud(settings.datacenter)] = by_cloud[Cloud.BAREMETAL]
    if Cloud.GCP in settings.providers:
        by_cloud[Cloud.GCP] = _gcp_provider(settings, identity)
    if Cloud.FLY in settings.providers and settings.fly_app is not None and settings.fly_api_token is not None:
        owner = Owner(settings.launcher_name, identity, settings.url)
        options = settings.fly_options(settings.fly_app, settings.fly_api_token, owner)
        of_work[Cloud.FLY] = FlyProvider(options, partial(_environment, control_plane, settings.launcher_name))
    work = next((of_work[one] for one in settings.providers if one in of_work), None)
    sessions = of_work.get(Cloud.BAREMETAL) if settings.executor else None
    return Providers(by_cloud, work, images=of_work.get(Cloud.FLY), sessions=sessions)


def _environment(control_plane: ControlPlane, launcher: str, hold: Hold) -> EnvironmentAnswer:
    """Ask for what a foreign image's worker is to be told. Raises ControlPlaneError."""
    return control_plane.environment(hold.order_id, EnvironmentRequest(launcher=launcher, epoch=hold.epoch))


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


def _local_provider(settings: LauncherSettings) -> Provider:
    """Return the provider of this host's machines. Raises ModeRefused, TrialImpossible."""
    if settings.provider is ProviderName.PROCESS or settings.image is None or settings.image_digest is None:
        log.warning(
            LogEvent.GUESTS_REACH_HOST,
            message="Workers are plain processes of this host: they reach what its user reaches, files included.",
            provider=ProviderName.PROCESS,
        )
        return ProcessProvider(settings.state_dir.resolve(), settings.machine_disk_mib, settings.slice)
    host = Host(settings.hypervisor)
    require_confinement(host)
    mode = probe(settings.qemu_mode, host.hypervisor)
    log.info(LogEvent.QEMU_MODE_CHOSEN, message="Chose how QEMU runs machines.", asked=settings.qemu_mode, mode=mode)
    return QemuProvider(
        mode=mode,
        image=settings.image.resolve(),
        digest=settings.image_digest,
        sizes=settings.sizes,
        directory_mib=settings.machine_disk_mib,
        host=host,
        gpus=settings.llm_gpus,
    )


def require_confinement(host: Host) -> None:
    """Check that machines do not reach their host, or log that they do. Raises SettingsWrong."""
    if host.hypervisor.enforcement is Enforcement.NOTHING:
        log.warning(
            LogEvent.GUESTS_REACH_HOST,
            message="LAUNCHYARD_GUEST_NETWORK is open: machines reach what this host reaches, its loopback included.",
            provider=ProviderName.QEMU,
        )
    finding = network.guests(host)
    if not finding.met and host.hypervisor.enforcement is not Enforcement.NOTHING:
        raise SettingsWrong(f"Machines would reach this host: {finding}")


def _gcp_provider(settings: LauncherSettings, identity: str) -> Provider:
    """Return the provider `gcp`. Raises CloudRefused, SettingsWrong."""
    # Imported here: Google's client takes seconds to import, and is an optional extra.
    try:
        from launcher.providers.gcp.errors import ComputeRefused
        from launcher.providers.gcp.provider import GcpProvider
    except ModuleNotFoundError as error:
        message = f"The provider gcp needs the Python module {error.name}: pip install 'launchyard[launcher-gcp]'"
        raise SettingsWrong(message) from error

    options = settings.gcp_options(settings.gcp_project or "", settings.launcher_name, identity, settings.url)
    try:
        return GcpProvider(options)
    except ComputeRefused as refused:
        raise CloudRefused(f"Compute Engine refuses requests from here: {refused}") from refused


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
    """Return what hears the subscription's bells. Raises CannotRunNow."""
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
