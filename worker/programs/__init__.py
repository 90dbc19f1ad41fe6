"""What a worker can be ordered to do, one module a program. This one says what a program is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import httpx

from shared.domain.order import Reason
from shared.guest.config import Sources

SpecT = TypeVar("SpecT")


@dataclass(frozen=True, slots=True)
class Job(Generic[SpecT]):
    """`folder` is the program's own, empty at the start."""

    spec: SpecT
    sources: Sources
    http: httpx.Client
    folder: Path


@dataclass(frozen=True, slots=True)
class Result:
    """The file that the program left; its name is that of the output."""

    file: Path
    content_type: str
    metrics: Mapping[str, int | float] = field(default_factory=dict)


class ProgramFailed(Exception):
    """The work cannot be done. `retryable`: another attempt may do it."""

    def __init__(self, reason: Reason, message: str, retryable: bool) -> None:
        super().__init__(message)
        self.reason, self.message, self.retryable = reason, message, retryable


Program = Callable[[Job[Any]], Result]
"""Does the work. Raises ProgramFailed."""
