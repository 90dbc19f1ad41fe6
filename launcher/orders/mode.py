"""The three ways in which a launcher runs."""

from enum import Enum


class Mode(Enum):
    """How many orders a launcher takes, and whether it attends to their machines once they run."""

    DAEMON = "daemon"
    """It takes orders until a signal stops it, and renews their leases by heartbeats while they run."""
    LIMITED = "limited"
    """It takes a number of capacity orders, leaves their machines running, and exits."""
    ONE_SHOT = "one_shot"
    """It takes one capacity order, leaves its machine running, and exits; if the order fails, so does the launcher."""

    @property
    def attended(self) -> bool:
        """True if heartbeats renew the lease of a running order. If false, that lease never expires."""
        return self is Mode.DAEMON
