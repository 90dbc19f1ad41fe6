"""The worker's log: one line for each step on standard output, which in a machine is the serial console.

It shows no token and no presigned URL: httpx's own logger, whose lines have URLs, is not shown.
"""

import logging
import sys

from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from shared.guest.config import WorkerConfig


def open_log(config: WorkerConfig) -> logging.Logger:
    """Return the log of one order at one epoch. Retries are logged as well."""
    log = logging.getLogger(__package__)
    log.setLevel(logging.INFO)
    log.propagate = False
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(f"[worker] order={config.order_id} epoch={config.epoch} %(message)s"))
    log.handlers = [handler]
    set_on_retry_hooks([lambda details: _log_retry(log, details)])
    return log


def _log_retry(log: logging.Logger, details: RetryDetails) -> None:
    log.warning("try %d: %s; again in %.1f s", details.retry_num, details.caused_by, details.wait_for)
