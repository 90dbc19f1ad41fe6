"""Reports of programs that are not ours: they act on no refusal, so a report that must change nothing is accepted.

Why it changed nothing is logged.
"""

import logging
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import structlog

from functions.domain.fence import fence
from functions.domain.order import Order
from functions.domain.refusals import LeaseLost, WrongState
from shared.log_events import LogEvent


class Ignored(StrEnum):
    """Why a report changed nothing."""

    FORGED = "forged"
    UNKNOWN_TASK = "unknown_task"
    WRONG_TASK = "wrong_task"
    WRONG_KEY = "wrong_key"
    NO_OBJECT = "no_object"
    EARLIER_ATTEMPT = "late"
    REPEATED = "repeated"
    CONTRADICTING = "contradicting"
    ANOTHERS = "anothers"


AUTHENTIC: Final = frozenset({Ignored.EARLIER_ATTEMPT, Ignored.REPEATED, Ignored.CONTRADICTING})
"""What may happen to a program that keeps to its contract."""

log = structlog.get_logger()


def apply_once(order: Order, epoch: int, request_id: str, apply: Callable[[], object]) -> Ignored | None:
    """Apply a report of this epoch, and return None; or why it changed nothing. Raises what else `apply` raises.

    `apply` is not called for an order that has ended, or an epoch that is over: what else is wrong with such a report
    does not matter.
    """
    if epoch == order.epoch and request_id in order.recent:
        return Ignored.REPEATED
    try:
        fence(order, epoch)
        if order.final:
            return Ignored.CONTRADICTING
        apply()
    except LeaseLost:
        return Ignored.EARLIER_ATTEMPT
    except WrongState:
        return Ignored.CONTRADICTING
    return None


def log_ignored(why: Ignored, order_id: str, callback: str) -> None:
    level = logging.INFO if why in AUTHENTIC else logging.WARNING
    message = "A callback was refused or ignored; the task has not changed."
    log.log(level, LogEvent.CALLBACK_IGNORED, message=message, order_id=order_id, callback=callback, why=why.value)
