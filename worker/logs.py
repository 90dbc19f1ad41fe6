"""The worker's log: one line a step on standard output, which inside a machine is its serial console.

No token and no presigned URL: only this logger is shown, and httpx's, which names URLs, is not.
"""

import logging
import sys

from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from shared.guest.config import WorkerConfig


def open_log(config: WorkerConfig) -> logging.Logger:
    """Return the log of one order at one epoch; it also tells of every repeated try."""
    log = logging.getLogger(__package__)
    log.setLevel(logging.INFO)
    log.propagate = False
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(f"[worker] order={config.order_id} epoch={config.epoch} %(message)s"))
    log.handlers = [handler]
    set_on_retry_hooks([lambda details: _tell(log, details)])
    return log


def _tell(log: logging.Logger, details: RetryDetails) -> None:
    log.warning("try %d: %s; again in %.1f s", details.retry_num, details.caused_by, details.wait_for)
