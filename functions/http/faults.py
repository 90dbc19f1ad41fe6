"""Answers requests of clients that would not ask again, although the store is unavailable."""

import time
from collections.abc import Callable

import structlog

from functions.domain.refusals import Refusal, Unavailable
from functions.http.routing import Answer, Route
from shared.log_events import LogEvent

log = structlog.get_logger()


def despite_faults(route: Route, call: Callable[[], Answer]) -> Answer:
    """Return what the call returns, repeated as the route says; after a fault, the route's degraded answer, if any."""
    try:
        return _persistently(route, call)
    except Exception as error:
        if route.degraded is None or (isinstance(error, Refusal) and not isinstance(error, Unavailable)):
            raise
        _note_degraded(error)
        time.sleep(route.degraded_pause)
        return route.degraded


def _persistently(route: Route, call: Callable[[], Answer]) -> Answer:
    """Return what the call returns. While the store is unavailable, repeat it after each of the route's pauses.

    Raises Unavailable at last.
    """
    for pause in route.repeats:
        try:
            return call()
        except Unavailable as refusal:
            message = "The store is unavailable; the request is tried again here, because its client would not."
            log.warning(LogEvent.REQUEST_REPEATED, message=message, why=refusal.message, pause_seconds=pause)
            time.sleep(pause)
    return call()


def _note_degraded(error: Exception) -> None:
    """Log why a request is answered without the store, or in spite of an error of ours."""
    if isinstance(error, Unavailable):
        message = "The store is unavailable; the request is answered without it."
        log.warning(LogEvent.REQUEST_DEGRADED, message=message, why=error.message)
    else:
        message = "An unexpected error; the request is answered all the same, because its client gives up after a few."
        log.error(LogEvent.REQUEST_DEGRADED, message=message, why=type(error).__name__, exc_info=error)
