"""The lanes that a launcher serves, and the resources that an order of each needs."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from launcher.machines.port import Provider
from launcher.machines.resources import Resources
from launcher.orders.mode import Mode
from launcher.providers.registry import Providers, cloud
from shared.domain.lanes import lane as lane_of
from shared.domain.lanes import of_sessions, offered
from shared.domain.spec import (
    EVERY,
    AnySpec,
    CapacitySpec,
    ExportSpec,
    Label,
    NodeSize,
    SecretName,
    SessionSpec,
    TaskSpec,
)

WORK: Final[tuple[AnySpec, ...]] = (
    ExportSpec(pi="0" * 26),
    TaskSpec(command=("true",)),
    TaskSpec(command=("true",), secrets=(SecretName.ANTHROPIC_API_KEY,)),
)
"""One order of each lane other than capacity's: all orders of such a lane need the same."""
IMAGES: Final[tuple[AnySpec, ...]] = (ExportSpec(pi="0" * 26, image="any"), TaskSpec(image="any"))
"""One order of each kind that can name an image."""
A_SESSION: Final = SessionSpec(session_name="any", prompt="")


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane that this launcher serves. `need` is what a machine for one of its orders takes of this host.

    `starting_limit` is the number of its provider's machines that may be starting at once; None: any.
    """

    name: str
    provider: str
    need: Resources
    starting_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Lanes:
    """The lanes that a launcher serves."""

    lanes: tuple[Lane, ...]

    def __iter__(self) -> Iterator[Lane]:
        return iter(self.lanes)

    @property
    def names(self) -> tuple[str, ...]:
        return names(self.lanes)

    @property
    def paced(self) -> "Lanes":
        """Return the lanes whose provider limits how many machines may be starting at once."""
        return Lanes(tuple(lane for lane in self.lanes if lane.starting_limit is not None))

    @property
    def unpaced(self) -> "Lanes":
        return Lanes(tuple(lane for lane in self.lanes if lane.starting_limit is None))

    def find(self, exact: str) -> Lane | None:
        """Return the served lane that an order's exact lane belongs to; None if this launcher does not serve it."""
        return next((lane for lane in self.lanes if lane.name in offered(exact)), None)


def names(lanes: Sequence[Lane]) -> tuple[str, ...]:
    return tuple(lane.name for lane in lanes)


def served(
    providers: Providers,
    datacenter: str | None,
    node_size: NodeSize | None = None,
    mode: Mode = Mode.DAEMON,
    labels: Collection[Label] = (),
) -> tuple[Lane, ...]:
    """Return the lanes of a launcher: capacity of its datacenter, or of all its clouds; exports, tasks and images;
    sessions that demand no labels but these.

    A launcher that takes only one node size, or that is not a daemon, takes only capacity.
    """
    sizes = tuple(NodeSize) if node_size is None else (node_size,)
    datacenters = [datacenter] if datacenter else [f"{one}:{EVERY}" for one in providers.by_cloud]
    capacity = [lane for one in datacenters for size in sizes for lane in _capacity(providers, one, size)]
    if mode is not Mode.DAEMON or node_size is not None:
        return tuple(capacity)
    return (*capacity, *_work(providers), *_sessions(providers, labels))


def _capacity(providers: Providers, datacenter: str, size: NodeSize) -> Iterator[Lane]:
    order = CapacitySpec(datacenter=datacenter.replace(EVERY, "default"), node_size=size)
    provider = providers.by_cloud.get(cloud(datacenter))
    if provider is not None:
        yield _lane(lane_of(order).replace(order.datacenter, datacenter), provider, order)


def _work(providers: Providers) -> Iterator[Lane]:
    for provider, orders in ((providers.work, WORK), (providers.images, IMAGES)):
        if provider is not None:
            yield from (_lane(lane_of(order), provider, order) for order in orders)


def _sessions(providers: Providers, labels: Collection[Label]) -> Iterator[Lane]:
    if providers.sessions is not None:
        for name in of_sessions(labels):
            yield _lane(name, providers.sessions, A_SESSION)


def _lane(name: str, provider: Provider, order: AnySpec) -> Lane:
    return Lane(name, provider.name, provider.resources(order), provider.starting_limit)
