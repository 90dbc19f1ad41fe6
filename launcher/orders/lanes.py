"""Which orders a launcher takes, and what each takes of its host."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from launcher.machines.resources import Resources
from launcher.providers.registry import Providers, cloud
from shared.domain.lanes import lane as lane_of
from shared.domain.lanes import offered
from shared.domain.spec import EVERY, AnySpec, CapacitySpec, ExportSpec, NodeSize, TaskSpec

WORK: Final[tuple[AnySpec, ...]] = (ExportSpec(pi="0" * 26), TaskSpec(command=("true",)))
"""One order of each kind that is not capacity: all of a kind take the same."""


@dataclass(frozen=True, slots=True)
class Lane:
    """`need` is what a machine for one of its orders takes of this host."""

    name: str
    provider: str
    need: Resources


@dataclass(frozen=True, slots=True)
class Lanes:
    """The lanes that a launcher serves."""

    lanes: tuple[Lane, ...]

    def __iter__(self) -> Iterator[Lane]:
        return iter(self.lanes)

    @property
    def names(self) -> tuple[str, ...]:
        return names(self.lanes)

    def rung(self, exact: str) -> Lane | None:
        """Return the lane by which a bell's order is taken; None where it is none of this launcher's."""
        return next((lane for lane in self.lanes if lane.name in offered(exact)), None)


def names(lanes: Sequence[Lane]) -> tuple[str, ...]:
    return tuple(lane.name for lane in lanes)


def served(
    providers: Providers, datacenter: str | None, node_size: NodeSize | None = None, work: bool = True
) -> tuple[Lane, ...]:
    """Return the lanes of a launcher: the capacity of its datacenter, or of its clouds; and work that runs anywhere.

    One that is to take orders of one node size takes nothing else; so does one without `work`.
    """
    sizes = tuple(NodeSize) if node_size is None else (node_size,)
    pools = [datacenter] if datacenter else [f"{one}:{EVERY}" for one in providers.by_cloud]
    capacity = [lane for pool in pools for size in sizes for lane in _capacity(providers, pool, size)]
    return (*capacity, *(_work(providers) if work and node_size is None else ()))


def _capacity(providers: Providers, pool: str, size: NodeSize) -> Iterator[Lane]:
    order = CapacitySpec(datacenter=pool.replace(EVERY, "default"), node_size=size)
    provider = providers.by_cloud.get(cloud(pool))
    if provider is not None:
        yield Lane(lane_of(order).replace(order.datacenter, pool), provider.name, provider.resources(order))


def _work(providers: Providers) -> Iterator[Lane]:
    if providers.work is not None:
        for order in WORK:
            yield Lane(lane_of(order), providers.work.name, providers.work.resources(order))
