"""Chooses the provider for an order: by its datacenter's cloud for capacity, else by its kind and its image."""

from collections.abc import Mapping
from dataclasses import dataclass

from launcher.machines.port import Provider, Recoverer
from launcher.machines.records import VmManifest
from launcher.providers.process.recovery import LocalMachines
from launcher.providers.qemu.provider import QEMU, QemuMachines
from shared.domain.spec import AnySpec, CapacitySpec, ExportSpec, SessionSpec, TaskSpec


@dataclass(frozen=True, slots=True)
class Providers:
    """`by_cloud` makes capacity. `work` runs exports and tasks, and `images` those that name an image; `sessions` runs
    agents' sessions. None: nobody.
    """

    by_cloud: Mapping[str, Provider]
    work: Provider | None
    images: Provider | None = None
    sessions: Provider | None = None

    def of(self, spec: AnySpec) -> Provider:
        """Return the provider that makes a machine for this order. Raises LookupError if there is none."""
        if isinstance(spec, CapacitySpec):
            provider, needed = self.by_cloud.get(cloud(spec.datacenter)), f"capacity of {cloud(spec.datacenter)}"
        elif isinstance(spec, ExportSpec | TaskSpec) and spec.image is not None:
            provider, needed = self.images, f"{spec.kind} by an image"
        elif isinstance(spec, SessionSpec):
            provider, needed = self.sessions, f"{spec.kind}, without LAUNCHYARD_EXECUTOR"
        else:
            provider, needed = self.work, spec.kind
        if provider is None:
            raise LookupError(f"No provider of this launcher makes machines for such an order: {needed}.")
        return provider

    def recoverer(self, manifest: VmManifest) -> Recoverer:
        """Return the recoverer of a machine: the one for this host's machines, or the remote provider that made it.

        Raises LookupError if that provider is not enabled.
        """
        if manifest.argv:
            return local_machines(manifest)
        for provider in self.all():
            if provider.name == manifest.provider:
                return provider
        raise LookupError(f"the provider {manifest.provider} is not enabled on this launcher")

    def all(self) -> tuple[Provider, ...]:
        """Return each provider once."""
        every = (*self.by_cloud.values(), self.work, self.images, self.sessions)
        return tuple({provider.name: provider for provider in every if provider is not None}.values())


def local_machines(manifest: VmManifest) -> LocalMachines:
    """Return the recoverer of a machine of this host, which stops it as its kind demands."""
    return QemuMachines() if manifest.provider == QEMU else LocalMachines()


def cloud(datacenter: str) -> str:
    return datacenter.partition(":")[0]
