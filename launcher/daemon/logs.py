"""The launcher's log: one JSON object a line, with the fields that Cloud Logging reads."""

from typing import TextIO, cast

import structlog
import structlog.tracebacks
from structlog.typing import EventDict, Processor

from shared.lines import Lines


def configure(file: TextIO | None) -> None:
    """Have the log written to a file."""
    lines = Lines(lambda: file)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Without local variables: keys and tokens are among them.
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            structlog.processors.EventRenamer("message"),
            _severity,
            _after_loss(lines),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", lines)),
    )


def _severity(_logger: object, _method: str, event: EventDict) -> EventDict:
    event["severity"] = event.pop("level").upper()
    return event


def _after_loss(lines: Lines) -> Processor:
    def noted(_logger: object, _method: str, event: EventDict) -> EventDict:
        if lines.lost:
            event["lines_lost_before"] = lines.lost
        return event

    return noted
