"""Makes the providers that the settings enable."""

from functools import partial

import structlog

from launcher.host.checks import network
from launcher.host.checks.host import Host
from launcher.host.guest_network import Enforcement
from launcher.host.probe import probe
from launcher.machines.port import Provider
from launcher.machines.remote.marks import Owner
from launcher.providers.fly.provider import FlyProvider
from launcher.providers.process.provider import ProcessProvider
from launcher.providers.qemu.provider import QemuProvider
from launcher.providers.registry import Providers, cloud
from launcher.settings import Cloud, LauncherSettings, ProviderName
from shared.client import ControlPlane
from shared.log_events import LogEvent
from shared.settings import SettingsWrong
from shared.wire.launchers import EnvironmentAnswer, EnvironmentRequest, Hold

log = structlog.get_logger()


class CloudRefused(Exception):
    """A cloud refuses requests from this host; the message says why."""


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
