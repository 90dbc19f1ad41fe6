"""The fake's behaviour, which tests set: the requests that it refuses, the regions without room, its delays."""

from enum import StrEnum

from pydantic import Field

from emulators.fakes.simulated import SimulatedRefusal, SimulatedShape


class FlyMethod(StrEnum):
    """The kinds of requests. GET and LIST and WAIT are reads."""

    CREATE = "create"
    GET = "get"
    LIST = "list"
    WAIT = "wait"
    STOP = "stop"
    DELETE = "delete"


class SimulatedFlyRefusal(SimulatedRefusal):
    method: FlyMethod


class FlyBehaviour(SimulatedShape):
    """Requests of `silent` methods are carried out, but answered only when the method is no longer silent."""

    refusals: tuple[SimulatedFlyRefusal, ...] = ()
    full: frozenset[str] = frozenset()
    """Regions that have no room for another machine."""
    silent: frozenset[FlyMethod] = frozenset()
    name_taken: int = 422
    """The status if a name is taken: Fly documents 422, and its users report 409."""
    latency_seconds: float = Field(default=0, ge=0)
    """The delay of every answer."""
    stage_seconds: float = Field(default=0.1, ge=0)
    """The duration of each of the states `created`, `starting` and `destroying`."""
    readable_seconds: float = Field(default=3600, ge=0)
    """How long a destroyed machine can still be read by its id."""
