"""The log: JSON lines on standard output, one for each request, in the form that Cloud Logging reads.

A line names the route, and never contains a query, a header or a body. So keys, tokens and presigned URLs stay out.
https://cloud.google.com/logging/docs/structured-logging
"""

import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final, TextIO, cast

import structlog

from shared.lines import Lines

TRACE: Final = "logging.googleapis.com/trace"
CLOUD_TRACE_HEADER: Final = "X-Cloud-Trace-Context"
TRACE_HEADER: Final = "traceparent"
"""https://www.w3.org/TR/trace-context/#traceparent-header"""
CLOUD_TRACE: Final = re.compile(r"^([0-9a-f]{32})(?:/|$)")
TRACEPARENT: Final = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")

Line = MutableMapping[str, Any]


def configure(project: str | None) -> None:
    """Write log lines as JSON. `project` is the Google Cloud project of their traces."""

    def trace(_logger: object, _level: str, line: Line) -> Line:
        """Replace the request's headers with the trace that they name, if a proxy before us began one."""
        found = CLOUD_TRACE.match(line.pop(CLOUD_TRACE_HEADER, ""))
        found = TRACEPARENT.match(line.pop(TRACE_HEADER, "")) if found is None else found
        if found is not None and project is not None:
            line[TRACE] = f"projects/{project}/traces/{found[1]}"
        return line

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            trace,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _severity,
            _message,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", Lines(lambda: sys.stdout))),
    )


def _severity(_logger: object, level: str, line: Line) -> Line:
    line["severity"] = level.upper()
    return line


def _message(_logger: object, _level: str, line: Line) -> Line:
    line.setdefault("message", line["event"])
    return line
