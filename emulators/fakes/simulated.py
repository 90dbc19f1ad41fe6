"""What the fakes of clouds share: the shape of the behaviour that tests set, and what their engines and APIs raise."""

from pydantic import BaseModel, ConfigDict


class SimulatedShape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SimulatedRefusal(SimulatedShape):
    """Answer the next `times` requests (None: all) of the fake's own `method` with this status, and do nothing."""

    status: int = 503
    message: str = "The fake simulates a refusal."
    times: int | None = None


class RequestRefused(Exception):
    """`reason` is the cloud's own word for it, if it has one."""

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.reason = status, message, reason


class NameTaken(Exception):
    """There is already a machine with this name. The message may have its id."""


class NoSuchResource(Exception):
    """There is no such machine or operation."""
