"""The fake's behaviour, which tests set: the requests that it refuses, the regions without room, its delays."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Method(StrEnum):
    """The kinds of requests. GET and LIST and WAIT are reads."""

    CREATE = "create"
    GET = "get"
    LIST = "list"
    WAIT = "wait"
    STOP = "stop"
    DELETE = "delete"


class Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SimulatedRefusal(Shape):
    """Answer the next `times` requests of a method (None: all) with this status, and do nothing."""

    method: Method
    status: int = 503
    message: str = "The fake simulates a refusal."
    times: int | None = None


class Behaviour(Shape):
    """Requests of `silent` methods are carried out, but answered only when the method is no longer silent."""

    refusals: tuple[SimulatedRefusal, ...] = ()
    full: frozenset[str] = frozenset()
    """Regions that have no room for another machine."""
    silent: frozenset[Method] = frozenset()
    name_taken: int = 422
    """The status if a name is taken: Fly documents 422, and its users report 409."""
    latency_seconds: float = Field(default=0, ge=0)
    """The delay of every answer."""
    stage_seconds: float = Field(default=0.1, ge=0)
    """The duration of each of the states `created`, `starting` and `destroying`."""
    readable_seconds: float = Field(default=3600, ge=0)
    """How long a destroyed machine can still be read by its id."""
