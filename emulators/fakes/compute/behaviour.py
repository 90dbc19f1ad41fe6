"""The fake's behaviour, which tests set: the requests that it refuses, the resources that ran out, its delays."""

from enum import StrEnum

from pydantic import Field

from emulators.fakes.simulated import SimulatedRefusal, SimulatedShape


class ComputeMethod(StrEnum):
    """The kinds of requests."""

    INSERT = "insert"
    GET = "get"
    LIST = "list"
    DELETE = "delete"
    OPERATION = "operation"


class SimulatedComputeRefusal(SimulatedRefusal):
    method: ComputeMethod
    reason: str = "backendError"


class Shortage(SimulatedShape):
    """Accept an insert, and fail its operation with this code. `zone` None means every zone.

    If `lingers`, the instance exists nevertheless.
    """

    code: str = "ZONE_RESOURCE_POOL_EXHAUSTED"
    zone: str | None = None
    lingers: bool = False


class ComputeBehaviour(SimulatedShape):
    """Requests of `silent` methods are carried out, but answered only when the method is no longer silent.

    If `boot`, instances start the worker, as a process of this host, with the configuration in their metadata.
    """

    refusals: tuple[SimulatedComputeRefusal, ...] = ()
    shortages: tuple[Shortage, ...] = ()
    no_zones: frozenset[str] = frozenset()
    """Names of zones that do not exist."""
    lacking: frozenset[str] = frozenset()
    """Zones that have no machine types."""
    silent: frozenset[ComputeMethod] = frozenset()
    unseen: frozenset[str] = frozenset()
    """Zones that a list leaves out, as if they did not answer."""
    latency_seconds: float = Field(default=0, ge=0)
    """The delay of every answer."""
    stage_seconds: float = Field(default=0.1, ge=0)
    """The duration of each of the states PROVISIONING, STAGING and STOPPING."""
    page_size: int = Field(default=500, ge=1)
    """The limit for the length of a list, whatever the request asks for."""
    boot: bool = False


class Forward(SimulatedShape):
    """Sets the clock forward, for events that take hours."""

    seconds: float = Field(ge=0)
