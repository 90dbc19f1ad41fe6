"""The providers that the settings ask for."""

import structlog

from launcher.host.checks.host import Host
from launcher.host.probe import probe
from launcher.machines.port import Provider
from launcher.providers.process.provider import ProcessProvider
from launcher.providers.qemu.provider import QemuProvider
from launcher.providers.registry import Providers, cloud
from launcher.settings import Cloud, ProviderName, Settings

log = structlog.get_logger()


class CloudRefused(Exception):
    """A cloud cannot be asked for machines from here; the message says why."""


def wire_providers(settings: Settings, identity: str) -> Providers:
    """`identity` is the launcher's own. Raises ModeRefused, TrialImpossible, CloudRefused."""
    by_cloud: dict[str, Provider] = {}
    work = None
    if Cloud.BAREMETAL in settings.providers:
        work = by_cloud[Cloud.BAREMETAL] = _local(settings)
        if settings.datacenter is not None:
            by_cloud[cloud(settings.datacenter)] = work
    if Cloud.GCP in settings.providers:
        by_cloud[Cloud.GCP] = _gcp(settings, identity)
    return Providers(by_cloud, work)


def _local(settings: Settings) -> Provider:
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


def _gcp(settings: Settings, identity: str) -> Provider:
    """Raises CloudRefused."""
    # Imported here: it brings Google's client, which takes seconds.
    from launcher.providers.gcp.errors import Refused
    from launcher.providers.gcp.provider import GcpProvider

    options = settings.gcp_options(settings.gcp_project or "", settings.launcher_name, identity, settings.url)
    try:
        return GcpProvider(options)
    except Refused as refused:
        raise CloudRefused(f"Compute Engine cannot be asked for machines from here: {refused}") from refused
