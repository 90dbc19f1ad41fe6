"""Lanes, the routing keys of orders: `<pool>/<kind>[/<size>]`."""

from shared.domain.spec import ANY_POOL, EVERY, CapacitySpec, ExportSpec, OrderKind, SessionSpec, TaskSpec


def lane(spec: CapacitySpec | ExportSpec | TaskSpec | SessionSpec) -> str:
    """Return what a launcher must serve to run this order, in one string: `<pool>/<kind>[/<size>]`."""
    if isinstance(spec, CapacitySpec):
        return f"{spec.datacenter}/{spec.kind}/{spec.node_size}"
    return f"{ANY_POOL}/{spec.kind}"


def offered(exact: str) -> tuple[str, ...]:
    """Return the lanes in which an order of this exact lane may be asked for, itself first.

    A capacity order may be asked for by any of: its datacenter, any of its cloud, any at all; of its size or of any.
    """
    datacenter, kind, *size = exact.split("/")
    if kind != OrderKind.CAPACITY:
        return (exact,)
    cloud = datacenter.partition(":")[0]
    places = (datacenter, f"{cloud}:{EVERY}", EVERY)
    return tuple("/".join((place, kind, *sized)) for sized in (size, ()) for place in places)
