"""The quotas: how much of the control plane one account, or one launcher, may use at once."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Quota(StrEnum):
    """The name that a refusal and the log give."""

    OPEN_ORDERS = "open_orders"
    CREATES_PER_SECOND = "creates_per_second"
    MACHINES = "machines"
    WAITING_CLAIMS = "waiting_claims"
    HELD_ORDERS = "held_orders"
    ACCOUNT_HELD_ORDERS = "account_held_orders"


@dataclass(frozen=True, slots=True)
class Quotas:
    """What an account may have at most. An operator's own orders and pools have no quota.

    `open_orders` have not ended. `creates_per_second` is the rate of new orders at one instance. `machines` are open
    capacity orders, and machines that pools are to have. `waiting_claims` wait at one instance. `held_orders` are held
    by one launcher, `account_held_orders` by all launchers of an account.
    """

    open_orders: int = 10_000
    creates_per_second: float = 50.0
    machines: int = 1_000
    waiting_claims: int = 500
    held_orders: int = 500
    account_held_orders: int = 10_000


DEFAULT_QUOTAS: Final = Quotas()


@dataclass(frozen=True, slots=True)
class Demand:
    """New orders that an account asks for at once, and how many of them are machines of capacity orders."""

    account: str
    orders: int = 1
    machines: int = 0
