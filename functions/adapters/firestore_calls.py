"""Calls to Firestore: bounded in time, tried again from the start, and `Unavailable` if that does not help.

The client library would retry a commit by itself and then report a lost race for a write that it won. Here it tries
each RPC once; what is tried again is the whole operation, which reads before it writes.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

import stamina
import structlog
from google.api_core.exceptions import (
    Aborted,
    DeadlineExceeded,
    InternalServerError,
    InvalidArgument,
    ResourceExhausted,
    RetryError,
    ServiceUnavailable,
    Unknown,
)
from google.api_core.retry import Retry, if_exception_type

from functions.domain.refusals import Invalid, Unavailable
from shared.log_events import LogEvent

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

ONCE: Final[dict[str, Any]] = {"retry": Retry(predicate=if_exception_type()), "timeout": 4.0}
"""The options of every RPC: no retries of the library's own; seconds."""


class LostRace(Exception):
    """The document changed after it was read."""


TRANSIENT: Final = (
    Aborted,
    DeadlineExceeded,
    InternalServerError,
    LostRace,
    ResourceExhausted,
    RetryError,
    ServiceUnavailable,
    Unknown,
)
"""May pass, and says nothing for sure of whether a write was carried out."""

# With two RPCs a try, the longest wait stays below the 15 s that our clients wait for an answer. A `RetryingCaller`,
# unlike the decorator, keeps the arguments, which hold clients' prompts, out of stamina's log.
_RETRYING: Final = stamina.RetryingCaller(attempts=8, timeout=6.0, wait_initial=0.02, wait_max=1.0, wait_jitter=0.1)


def persistently(operation: Callable[P, T]) -> Callable[P, T]:
    """Try the operation again, with jittered backoff, while Firestore fails in passing. Raises Unavailable at last."""

    @wraps(operation)
    def persistent(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return _RETRYING(TRANSIENT, operation, *args, **kwargs)
        except TRANSIENT as error:
            raise Unavailable("The order store does not answer; send the same request again.") from error

    return persistent


def of_callers(query: Callable[P, T]) -> Callable[P, T]:
    """Refuse values that Firestore refuses, in a query that is made with a caller's. Raises Invalid.

    A net: values are bounded where they are read, so one that comes so far is logged as our fault. Queries with our own
    values, and writes, have no net: no caller can be at fault there.
    """

    @wraps(query)
    def refusing(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return query(*args, **kwargs)
        except InvalidArgument as error:
            message = "Firestore refused a value that a caller sent."
            log.error(LogEvent.QUERY_REFUSED, message=message, query=query.__qualname__, why=error.message)
            raise Invalid("One of the values that were sent is too long to look for; shorten it.") from error

    return refusing
