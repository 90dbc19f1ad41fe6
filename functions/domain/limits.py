"""How long an order may wait, boot, run and keep its output; and the limits of each kind, if the client sets none."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from shared.domain.spec import OrderKind

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Limits:
    """All in seconds."""

    queue_seconds: float = DAY
    """How long it waits for a launcher, at first and after each attempt."""
    boot_seconds: float = 600.0
    """How long after a claim its worker may take to report."""
    run_seconds: float | None = None
    """How long it may run then; None: until it is stopped. A capacity order that has run so long has done its work."""
    keep_seconds: float = 7 * DAY
    """How long after its end what it left in the bucket is kept."""

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


DEFAULT_LIMITS: Final = Limits()
DEFAULT_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Policy:
    """What a kind of order is given."""

    limits: Limits = DEFAULT_LIMITS
    max_attempts: int = DEFAULT_ATTEMPTS


POLICIES: Final[Mapping[OrderKind, Policy]] = {
    OrderKind.CAPACITY: Policy(),
    OrderKind.EXPORT: Policy(Limits(run_seconds=HOUR, keep_seconds=DAY)),
    OrderKind.TASK: Policy(Limits(run_seconds=6 * HOUR)),
    OrderKind.SESSION: Policy(Limits(run_seconds=DAY)),
}
