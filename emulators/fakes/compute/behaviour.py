"""How the fake behaves, which its control route changes: what it refuses, has run out of, or takes its time over."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Method(StrEnum):
    """What a client may ask for."""

    INSERT = "insert"
    GET = "get"
    LIST = "list"
    DELETE = "delete"
    OPERATION = "operation"


class Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Refusal(Shape):
    """A method is answered with this status, for the next `times` requests (None: always), and nothing is done."""

    method: Method
    status: int = 503
    reason: str = "backendError"
    message: str = "The fake was told to refuse this."
    times: int | None = None


class Shortage(Shape):
    """An insert is taken, and its operation fails with this code. `zone` None is every zone.

    `lingers`: the instance is there all the same.
    """

    code: str = "ZONE_RESOURCE_POOL_EXHAUSTED"
    zone: str | None = None
    lingers: bool = False


class Behaviour(Shape):
    """`silent` methods are carried out, and answered once they are silent no more.

    `boot` has instances start the worker, as a process of this host, with the configuration in their metadata.
    """

    refusals: tuple[Refusal, ...] = ()
    shortages: tuple[Shortage, ...] = ()
    no_zones: frozenset[str] = frozenset()
    """Zones that there are not, although they have a zone's name."""
    lacking: frozenset[str] = frozenset()
    """Zones without any machine type that is asked for."""
    silent: frozenset[Method] = frozenset()
    unseen: frozenset[str] = frozenset()
    """Zones that a list leaves out, as it does with one that does not answer."""
    latency_seconds: float = Field(default=0, ge=0)
    """Of every answer."""
    stage_seconds: float = Field(default=0.1, ge=0)
    """Of each of the states PROVISIONING, STAGING and STOPPING."""
    page_size: int = Field(default=500, ge=1)
    """Of a list at most, whatever is asked for."""
    boot: bool = False


class Forward(Shape):
    """Sets the clock forward, for what happens after hours."""

    seconds: float = Field(ge=0)
