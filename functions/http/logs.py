"""One JSON line a request, as Cloud Logging reads it from standard output.

A line names the route, never the path's query, a header or a body: keys, tokens and presigned URLs cannot get in.
https://cloud.google.com/logging/docs/structured-logging
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any, Final, TextIO, cast

import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars
from werkzeug.datastructures import Headers

from shared.lines import Lines

NO_ROUTE: Final = "(none)"
TRACE: Final = "logging.googleapis.com/trace"
CLOUD_TRACE: Final = re.compile(r"^([0-9a-f]{32})(?:/|$)")
TRACEPARENT: Final = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
"""https://www.w3.org/TR/trace-context/#traceparent-header"""

LOG: Final[structlog.typing.FilteringBoundLogger] = structlog.get_logger()


def configure() -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _severity,
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", Lines(lambda: sys.stdout))),
    )


def begin(headers: Headers, project: str | None) -> None:
    """Forget the request that this thread served before; note the trace of this one."""
    clear_contextvars()
    trace = trace_id(headers)
    if trace and project:
        bind_contextvars(**{TRACE: f"projects/{project}/traces/{trace}"})


def note(**known: str) -> None:
    """Add what has become known to every further line of this request."""
    bind_contextvars(**known)


def end(method: str, status: int, seconds: float, failure: Exception | None = None) -> None:
    """Write the request's line; with the stack, where it failed for a reason that nobody foresaw."""
    route = get_contextvars().get("route", NO_ROUTE)
    LOG.log(
        _level(status),
        f"{method} {route} {status}",
        method=method,
        route=route,
        status=status,
        duration_ms=round(seconds * 1000, 1),
        exc_info=failure,
    )


def trace_id(headers: Headers) -> str | None:
    """Return the 32 hexadecimal digits of the request's trace, where a proxy before us began one."""
    found = CLOUD_TRACE.match(headers.get("X-Cloud-Trace-Context", ""))
    found = found or TRACEPARENT.match(headers.get("traceparent", ""))
    return found and found[1]


def _level(status: int) -> int:
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return logging.INFO
    return logging.WARNING if status == HTTPStatus.SERVICE_UNAVAILABLE else logging.ERROR


def _severity(_logger: object, level: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    line["severity"] = level.upper()
    return line
