"""How long an order may wait, boot and run, and how long its output is kept; and each kind's default limits."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from shared.domain.spec import OrderKind

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR


@dataclass(frozen=True, slots=True)
class OrderLimits:
    """All in seconds."""

    queue_seconds: float = DAY
    """The queue TTL: how long the order waits for a launcher, at first and after each attempt."""
    boot_seconds: float = 600.0
    """The time from a claim to the worker's first report; for a task's image, from the launcher's own report."""
    run_seconds: float | None = None
    """The time that the order may run; None means until it is stopped. A capacity order succeeds when it has passed."""
    keep_seconds: float = 7 * DAY
    """The retention: how long after the order's end its output is kept."""

    @property
    def queue(self) -> timedelta:
        return timedelta(seconds=self.queue_seconds)

    @property
    def boot(self) -> timedelta:
        return timedelta(seconds=self.boot_seconds)

    @property
    def run(self) -> timedelta | None:
        return None if self.run_seconds is None else timedelta(seconds=self.run_seconds)

    @property
    def keep(self) -> timedelta:
        return timedelta(seconds=self.keep_seconds)


DEFAULT_LIMITS: Final = OrderLimits()
DEFAULT_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Policy:
    """The defaults for a kind of order."""

    limits: OrderLimits = DEFAULT_LIMITS
    max_attempts: int = DEFAULT_ATTEMPTS


POLICIES: Final[Mapping[OrderKind, Policy]] = {
    OrderKind.CAPACITY: Policy(),
    OrderKind.EXPORT: Policy(OrderLimits(run_seconds=HOUR, keep_seconds=DAY)),
    OrderKind.TASK: Policy(OrderLimits(run_seconds=6 * HOUR)),
    OrderKind.SESSION: Policy(OrderLimits(run_seconds=DAY)),
}
TASK_IMAGE: Final = Policy(OrderLimits(boot_seconds=120.0, run_seconds=HOUR), max_attempts=2)
"""For a task that names an image: the deadlines of the contract of ephemeral workers, section 9."""
