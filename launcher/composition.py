"""The composition root: settings in, a running daemon out."""

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from launcher import logs
from launcher.admission import Admission
from launcher.adoption import Adoption
from launcher.checks.case import Host
from launcher.claims import Claims
from launcher.clock import SYSTEM
from launcher.daemon import Daemon, Events, Loop
from launcher.doorbell import DoorbellLoop
from launcher.heartbeat import HeartbeatLoop
from launcher.lanes import served
from launcher.outage import Outage
from launcher.polling import PollingLoop
from launcher.reconciliation import Reconciliation
from launcher.reports import Reports
from launcher.run import Runner
from launcher.runs import Runs
from launcher.settings import ProviderName, Settings
from launcher.vm import host
from launcher.vm.probe import probe
from launcher.vm.process import ProcessProvider
from launcher.vm.provider import Provider
from launcher.vm.qemu import QemuProvider
from launcher.vm.resources import Resources
from shared.control_plane import ControlPlane
from shared.domain.spec import TaskSpec
from shared.ports import BellListener

log = structlog.get_logger()


class StateUnusable(Exception):
    """The state directory cannot be used; the message says why."""


def serve(settings: Settings) -> int:
    """Run the daemon until it is told to go, and return its exit code. Raises ModeRefused, StateUnusable."""
    logs.configure()
    threading.excepthook = _log_failure
    provider = choose_provider(settings)
    key = settings.launcher_key.get_secret_value()
    with _own(settings.state_dir), ControlPlane(settings.url, key) as control_plane:
        events = Events()
        events.hear_signals()
        log.info("launcher starts", name=settings.launcher_name, provider=provider.name, slots=settings.slots)
        return compose(settings, provider, control_plane).run(events)


def compose(settings: Settings, provider: Provider, control_plane: ControlPlane) -> Daemon:
    name, outage, admission = settings.launcher_name, Outage(SYSTEM.monotonic), _admission(settings, provider)
    runner = Runner(
        launcher=name,
        control_plane=settings.url,
        sources=settings.sources,
        state=settings.state_dir,
        provider=provider,
        reports=Reports(control_plane, outage, SYSTEM),
        rest=admission.rest,
    )
    runs = Runs(runner.run, admission, SYSTEM)
    claims = Claims(control_plane, name, served(settings.datacenter))
    heartbeat = HeartbeatLoop(control_plane, name, runs, settings.heartbeat_seconds, outage, SYSTEM)
    reconciliation = Reconciliation(control_plane, name, runs, outage, SYSTEM)
    intake = _intake(settings, claims, runs, admission, outage)

    def reconciled_intake() -> None:
        reconciliation.run(admission.closed)
        intake()

    adoption = Adoption(runner, runs, admission)
    return Daemon(adoption.run, admission, runs, reconciled_intake, heartbeat, settings.drain_seconds)


def _admission(settings: Settings, provider: Provider) -> Admission:
    whole = Resources(
        machines=settings.slots, memory_mib=settings.memory_mib, vcpus=settings.vcpus, tdx_keys=host.tdx_keys()
    )
    state, need = settings.state_dir, provider.resources(TaskSpec(command=("true",)))
    admission = Admission(state, whole, need, lambda: host.free_disk_mib(state), SYSTEM.monotonic)
    said = {"a_machine_needs": need.model_dump(), "this_host_has": whole.model_dump()}
    if admission.fits:
        log.info("room for machines", room=admission.room(), **said)
    else:
        log.error("no machine fits this host: no order is taken", **said)
    return admission


def choose_provider(settings: Settings) -> Provider:
    """Raises ModeRefused."""
    if settings.provider is ProviderName.PROCESS or settings.image is None or settings.image_digest is None:
        return ProcessProvider(settings.state_dir.resolve(), settings.machine_disk_mib)
    mode = probe(settings.qemu_mode, settings.qemu)
    log.info("mode chosen", asked=settings.qemu_mode, mode=mode)
    return QemuProvider(
        mode=mode,
        image=settings.image.resolve(),
        digest=settings.image_digest,
        sizes=settings.sizes,
        directory_mib=settings.machine_disk_mib,
        host=Host(settings.hypervisor),
        gpus=settings.llm_gpus,
    )


def _intake(settings: Settings, claims: Claims, runs: Runs, admission: Admission, outage: Outage) -> Loop:
    if settings.subscription is None:
        log.info("no subscription: claiming over HTTPS")
        return PollingLoop(claims, runs, admission, outage, SYSTEM).run
    return DoorbellLoop(_listener(settings.subscription), claims, runs, admission, outage, SYSTEM).run


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
            raise StateUnusable(f"{state} is in use by another launcher.") from error
        yield


def _log_failure(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is not None:
        name = failure.thread.name if failure.thread else None
        log.critical("a thread failed", thread=name, exc_info=failure.exc_value)
