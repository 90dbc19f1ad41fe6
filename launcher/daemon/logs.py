"""The launcher's log: one JSON object on each line, with `event`, `message`, and Cloud Logging's fields."""

import threading
from typing import TextIO, cast

import structlog
import structlog.tracebacks
from structlog.typing import EventDict, Processor

from shared.lines import Lines
from shared.log_events import LogEvent

log = structlog.get_logger()


def configure(file: TextIO | None) -> None:
    """Write the log to a file from now on; None: nowhere."""
    lines = Lines(lambda: file)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Without local variables: keys and tokens are among them.
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            _severity,
            _after_loss(lines),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", lines)),
    )


def log_thread_failures() -> None:
    """Log an exception that ends a thread, from now on."""
    threading.excepthook = _log_failure


def _log_failure(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is not None:
        name = failure.thread.name if failure.thread else None
        message = "A thread of the launcher failed."
        log.critical(LogEvent.THREAD_FAILED, message=message, thread=name, exc_info=failure.exc_value)


def _severity(_logger: object, _method: str, event: EventDict) -> EventDict:
    event["severity"] = event.pop("level").upper()
    return event


def _after_loss(lines: Lines) -> Processor:
    def noted(_logger: object, _method: str, event: EventDict) -> EventDict:
        if lines.lost:
            event["lines_lost_before"] = lines.lost
        return event

    return noted
