"""Lanes, the routing keys of orders: `<datacenter>/<kind>[/<size>]`, or `any/<kind>[/image]`."""

from typing import Final

from shared.domain.spec import ANY_POOL, EVERY, CapacitySpec, ExportSpec, OrderKind, SessionSpec, TaskSpec

IMAGE: Final = "image"


def lane(spec: CapacitySpec | ExportSpec | TaskSpec | SessionSpec) -> str:
    """Return the lane that a launcher must serve to run this order: `any/<kind>` if every launcher may run it.

    An order that names an image is for launchers that can run images.
    """
    if isinstance(spec, CapacitySpec):
        return f"{spec.datacenter}/{spec.kind}/{spec.node_size}"
    if isinstance(spec, ExportSpec | TaskSpec) and spec.image is not None:
        return f"{ANY_POOL}/{spec.kind}/{IMAGE}"
    return f"{ANY_POOL}/{spec.kind}"


def offered(exact: str) -> tuple[str, ...]:
    """Return the lanes in which launchers may claim an order of this exact lane, itself first.

    A capacity order may be claimed in its datacenter, in any of its cloud's or in any at all; by its size, or any.
    """
    datacenter, kind, *size = exact.split("/")
    if kind != OrderKind.CAPACITY:
        return (exact,)
    cloud = datacenter.partition(":")[0]
    datacenters = (datacenter, f"{cloud}:{EVERY}", EVERY)
    return tuple("/".join((name, kind, *sized)) for sized in (size, ()) for name in datacenters)
