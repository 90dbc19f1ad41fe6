"""The programs that an order can run, one module each. This module defines what a program is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from shared.domain.order import Reason
from shared.guest.config import Executor, Sources
from worker.network import Client

SpecT = TypeVar("SpecT")


@dataclass(frozen=True, slots=True)
class Job(Generic[SpecT]):
    """What a program is given. `folder` is its own, and empty at the start.

    A program calls `progress` with what it has done so far, as often as it likes: the call returns at once.
    `environment` is that of a task's command or of a session's executor, with its credentials.
    """

    spec: SpecT
    sources: Sources
    http: Client
    folder: Path
    progress: Callable[[Mapping[str, int]], None] = lambda counts: None  # noqa: ARG005 (nobody listens)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    executor: Executor | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The file that the program wrote. Its name becomes the output's."""

    file: Path
    content_type: str
    metrics: Mapping[str, int | float] = field(default_factory=dict)


class ProgramFailed(Exception):
    """The program failed. If `retryable`, another attempt may succeed.

    The message is for whoever placed the order; `details`, such as a path of the host, are for the machine's log only.
    """

    def __init__(self, reason: Reason, message: str, retryable: bool, details: str = "") -> None:
        super().__init__(message)
        self.reason, self.message, self.retryable, self.details = reason, message, retryable, details


Program = Callable[[Job[Any]], Result]
"""Runs the job and returns its result. Raises ProgramFailed."""
