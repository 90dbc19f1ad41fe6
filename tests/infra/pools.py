"""Compares the filter of a pool's subscription with the launcher's own table of lanes."""

from collections.abc import Iterator, Mapping
from itertools import combinations, product
from typing import Any, Final

from launcher.orders.lanes import Lanes, served
from launcher.providers.registry import Providers, cloud
from shared.domain.lanes import lane
from shared.domain.spec import MAX_DEMANDED, AnySpec, CapacitySpec, NodeSize, TaskSpec
from shared.wire.bell import Bell, to_attributes
from tests.factories import EXPORT, SESSION, TASK
from tests.infra.consistency import difference
from tests.infra.filters import FilterInvalid, parse
from tests.launcher.stand_ins import Processes

HERE: Final = "baremetal:rack-7"
"""The datacenter of the pools that are compared."""
ELSEWHERE: Final = ("baremetal:rack-70", "baremetal:rack", "gcp:rack-7", "any:capacity")
LABELS: Final = ("gpu", "gpu2", "linux", "os=a")

CERTIFICATE: Final = "-----BEGIN CERTIFICATE-----\nof a key pair\n-----END CERTIFICATE-----\n"
"""By which the hosts of a pool may prove themselves: only then has the pool a subscription."""

Pool = Mapping[str, Any]


def wrong_filter(pool: Pool, settings: Mapping[str, str], text: str) -> list[str]:
    """The filter selects the bells of exactly what launchers with these settings run of what the pool may."""
    try:
        selects = parse(text)
    except FilterInvalid as error:
        return [f"Pub/Sub refuses the filter: {error}"]
    heard = {lane(order) for order in ORDERS if selects(to_attributes(Bell("one", lane(order))))}
    runnable = {lane(order) for order in ORDERS if runs(pool, settings, order)}
    return difference("lane", heard, runnable) if runnable else ["the pool runs none of these orders"]


def orders() -> Iterator[AnySpec]:
    """Yield an order of each lane that matters to these pools."""
    for datacenter, size in product((HERE, *ELSEWHERE), NodeSize):
        yield CapacitySpec(datacenter=datacenter, node_size=size)
    yield from (EXPORT, EXPORT.model_copy(update={"image": "an/image:1"}), TASK)
    secrets = ("ANTHROPIC_API_KEY",)
    for changes in ({"image": "an/image:1"}, {"secrets": secrets}, {"image": "an/image:1", "secrets": secrets}):
        yield TASK.model_copy(update=changes)
    for count in range(MAX_DEMANDED + 1):
        for some in combinations(LABELS, count):
            yield SESSION.model_copy(update={"labels": some})


ORDERS: Final = tuple(orders())


def runs(pool: Pool, settings: Mapping[str, str], order: AnySpec) -> bool:
    """Return whether a launcher with these settings, on a host with every provider, runs what its pool may."""
    host = Processes()
    datacenter = settings["LAUNCHYARD_DATACENTER"]
    size = settings.get("LAUNCHYARD_NODE_SIZE")
    labels = settings.get("LAUNCHYARD_LABELS", "").split(",")
    providers = Providers({cloud(datacenter): host}, host, sessions=host)
    table = Lanes(served(providers, datacenter, NodeSize(size) if size else None, labels=[*filter(None, labels)]))
    allowed = order.kind in pool["kinds"]
    if isinstance(order, CapacitySpec) and pool.get("node_sizes"):
        allowed &= order.node_size in pool["node_sizes"]
    if isinstance(order, TaskSpec) and order.secrets:
        allowed &= pool.get("secrets", False)
    return allowed and table.find(lane(order)) is not None
