"""The launcher's log: one JSON object a line, with the fields that Cloud Logging reads."""

from typing import TextIO

import structlog
import structlog.tracebacks
from structlog.typing import EventDict


def configure(file: TextIO) -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Without local variables: keys and tokens are among them.
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            structlog.processors.EventRenamer("message"),
            _severity,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(file),
    )


def _severity(_logger: object, _method: str, event: EventDict) -> EventDict:
    event["severity"] = event.pop("level").upper()
    return event
