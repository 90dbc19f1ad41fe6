"""The options for this launcher's machines."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from launcher.machines.remote.marks import Owner
from shared.domain.spec import AnySpec, ExportSpec, OrderKind, TaskSpec
from shared.secret import Secret

ENDPOINT: Final = "https://api.machines.dev"
REGION: Final = "ord"
OWN_IMAGE: Final = "registry.fly.io/launchyard-worker:production"


@dataclass(frozen=True, slots=True)
class FlyGuest:
    """The size of a machine. `memory_mb` is a multiple of 256."""

    cpu_kind: str
    cpus: int
    memory_mb: int


SIZES: Final[Mapping[OrderKind, FlyGuest]] = {
    OrderKind.EXPORT: FlyGuest("shared", 2, 1024),
    OrderKind.TASK: FlyGuest("shared", 1, 512),
}


@dataclass(frozen=True, slots=True)
class FlyOptions:
    """`own_images` hold our own worker, which reads its order's configuration; any other image is foreign."""

    app: str
    token: Secret
    owner: Owner
    endpoint: str = ENDPOINT
    region: str = REGION
    """The region of an order that names none."""
    own_images: tuple[str, ...] = (OWN_IMAGE,)
    """The first is the image of an order that names none."""
    sizes: Mapping[OrderKind, FlyGuest] = field(default_factory=lambda: SIZES)
    check_seconds: float = 2.0
    """The seconds between two reads of all machines."""

    def image_of(self, spec: AnySpec) -> str:
        """Return the image of an order's machine."""
        if isinstance(spec, ExportSpec | TaskSpec) and spec.image is not None:
            return spec.image
        return self.own_images[0]

    def region_of(self, spec: AnySpec) -> str:
        named = spec.region if isinstance(spec, ExportSpec | TaskSpec) else None
        return self.region if named is None else named

    def is_own(self, image: str) -> bool:
        return image in self.own_images
