"""Calls Firestore with a time limit, repeats an operation that failed, and raises `Unavailable` if repeats do not help.

If the client library retried a commit by itself, it would report a lost race for a write that it had won. So the
library tries each RPC once, and this module repeats the whole operation, which reads before it writes.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

import stamina
import structlog
from google.api_core.exceptions import (
    Aborted,
    Cancelled,
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
"""The options of every RPC: no retries by the library; the timeout is in seconds."""


class LostRace(Exception):
    """The document changed after it was read."""


TRANSIENT: Final = (
    Aborted,
    Cancelled,  # the deadline passed at the server first
    DeadlineExceeded,
    InternalServerError,
    LostRace,
    ResourceExhausted,
    RetryError,
    ServiceUnavailable,
    Unknown,
)
"""Errors that may go away. After one of them it is unknown whether a write was carried out."""

# With two RPCs for each try, the longest wait is below the 15 s that our clients wait for an answer. Unlike the
# decorator, a `RetryingCaller` keeps the arguments out of stamina's log: they hold clients' prompts.
_RETRYING: Final = stamina.RetryingCaller(attempts=8, timeout=6.0, wait_initial=0.02, wait_max=1.0, wait_jitter=0.1)


def persistently(operation: Callable[P, T]) -> Callable[P, T]:
    """Repeat the operation, with jittered backoff, after transient errors of Firestore. Raises Unavailable at last."""

    @wraps(operation)
    def persistent(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return _RETRYING(TRANSIENT, operation, *args, **kwargs)
        except TRANSIENT as error:
            raise Unavailable("The order store does not answer; send the same request again.") from error

    return persistent


def of_callers(query: Callable[P, T]) -> Callable[P, T]:
    """Raise Invalid if Firestore refuses the values of a query that uses values from a caller.

    This is a safety net: parsing limits all values, so a value that gets this far is logged as our fault. Writes, and
    queries with only our own values, do not use it: no caller can be at fault there.
    """

    @wraps(query)
    def refusing(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return query(*args, **kwargs)
        except InvalidArgument as error:
            message = "Firestore refused a value that a caller sent."
            log.error(LogEvent.QUERY_REFUSED, message=message, query=query.__qualname__, why=error.message)
            raise Invalid("One of the values is too long to search for; shorten it.") from error

    return refusing
