"""The options for this launcher's instances."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from launcher.machines.remote.marks import Owner
from shared.domain.spec import NodeSize

MACHINE_TYPE: Final = "c3-standard-4"
"""The smallest machine type that supports TDX."""
IMAGE: Final = "projects/ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-amd64"
ANY_ZONE: Final = "default"
"""The zone of a datacenter that names no zone."""
DEFAULT_ZONE: Final = "us-central1-a"
ZONE_PATTERN: Final = r"[a-z]+-[a-z]+[0-9]+-(?:ai[0-9]+)?[a-z]"
"""A zone's name, such as `us-central1-a`, or `us-central1-ai1a` (https://cloud.google.com/compute/docs/regions-zones)."""
MAX_RUN_SECONDS: Final = 30 * 24 * 3600


@dataclass(frozen=True, slots=True)
class GcpOptions:
    """`launcher` (its name), `identity` and `control_plane` (its URL) mark instances as this launcher's.

    `zones` are tried after the order's own zone if that has no machine left. `endpoint` None is Google's.
    """

    project: str
    launcher: str
    identity: str
    control_plane: str
    endpoint: str | None = None
    name_prefix: str = "easyenclave-agent"
    zones: tuple[str, ...] = ()
    machine_type: str = MACHINE_TYPE
    machine_types: Mapping[NodeSize, str] = field(default_factory=dict)
    """Machine types of sizes that differ from `machine_type`."""
    image: str = IMAGE
    disk_gib: int = 80
    disk_type: str = "pd-balanced"
    network: str = "global/networks/default"
    subnetwork: str | None = None
    max_run_seconds: int = MAX_RUN_SECONDS
    """When Compute Engine itself deletes an instance, so that a forgotten one does not cost money forever."""
    check_seconds: float = 10.0
    """The seconds between two reads of all instances."""

    @property
    def owner(self) -> Owner:
        return Owner(self.launcher, self.identity, self.control_plane)

    @property
    def own_zones(self) -> tuple[str, ...]:
        """Return the zones of an order that names none."""
        return self.zones or (DEFAULT_ZONE,)

    def machine_type_of(self, size: NodeSize) -> str:
        return self.machine_types.get(size, self.machine_type)


def image_path(named: str) -> str:
    """Return an image's path: given as `<project>/<family>`, or as a link already."""
    project, slash, family = named.partition("/")
    return f"projects/{project}/global/images/family/{family}" if slash and "/" not in family else named
