"""Lanes, the routing keys of orders: `<datacenter>/<kind>[/<size>]`, `any/<kind>[/image]`, `any/task/secrets`,
`any/session[/<labels>]`.
"""

from collections.abc import Collection
from itertools import chain, combinations
from typing import Final

from shared.domain.spec import (
    ANY_POOL,
    EVERY,
    MAX_DEMANDED,
    CapacitySpec,
    ExportSpec,
    Label,
    OrderKind,
    SessionSpec,
    TaskSpec,
)

IMAGE: Final = "image"
SECRETS: Final = "secrets"
MAX_OFFERED: Final = 8
"""The number of labels that a launcher may offer: it then serves 93 lanes of sessions."""


def lane(spec: CapacitySpec | ExportSpec | TaskSpec | SessionSpec) -> str:
    """Return the lane that a launcher must serve to run this order: `any/<kind>` if every launcher may run it.

    An order that names an image is for launchers that can run images. A task that asks for the operator's secrets is
    for launchers that may have them.
    """
    if isinstance(spec, CapacitySpec):
        return f"{spec.datacenter}/{spec.kind}/{spec.node_size}"
    if isinstance(spec, ExportSpec | TaskSpec) and spec.image is not None:
        return f"{ANY_POOL}/{spec.kind}/{IMAGE}"
    if isinstance(spec, TaskSpec) and spec.secrets:
        return f"{ANY_POOL}/{spec.kind}/{SECRETS}"
    if isinstance(spec, SessionSpec):
        return _of_session(spec.labels)
    return f"{ANY_POOL}/{spec.kind}"


def of_sessions(labels: Collection[Label]) -> tuple[str, ...]:
    """Return the lanes of the sessions that a launcher with these labels may run: those that demand no others."""
    offered = sorted(set(labels))
    demanded = chain.from_iterable(combinations(offered, count) for count in range(MAX_DEMANDED + 1))
    return tuple(_of_session(some) for some in demanded)


def _of_session(labels: Collection[Label]) -> str:
    lane = f"{ANY_POOL}/{OrderKind.SESSION}"
    return f"{lane}/{'+'.join(sorted(set(labels)))}" if labels else lane


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
