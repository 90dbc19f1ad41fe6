"""The port of the order store, and what it is asked with and answers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from functions.domain.events import AnyEvent, Claim
from functions.domain.order import Order
from shared.domain.order import State
from shared.domain.spec import OrderKind

MAX_HELD: Final = 500
"""The number of orders that one launcher can hold: a heartbeat names them all."""
KEY_TTL: Final = timedelta(hours=24)
"""How long an Idempotency-Key is remembered. A repeat after that creates a new order."""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A client's key for one create. `fingerprint` is the SHA-256 of the request's body.

    A `lasting` key does not expire; only `OrderStore.remove` removes it.
    """

    account: str
    value: str
    fingerprint: str
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An order as it was read, and the store's mark of that version, which is only compared."""

    order: Order
    version: object


@dataclass(frozen=True, slots=True)
class UnreadableOrder:
    """An order that exists, but that this version of the control plane cannot read: another version wrote it."""

    order_id: str


@dataclass(frozen=True, slots=True)
class AccountsPage:
    """Claimable orders, sorted by account. `last` is the account to read on after; None if none is left.

    The orders of `last` may be cut off: to read on after it is to pass the rest of its orders.
    """

    orders: Sequence[Snapshot]
    last: str | None


@dataclass(frozen=True, slots=True)
class Due:
    """Orders whose due time has passed. If `more`, there may be others that were not read."""

    orders: Sequence[Snapshot]
    more: bool


@dataclass(frozen=True, slots=True)
class OrderQuery:
    """The orders to list. If `account` is None, those of every account; if `states` is empty, those in any state.

    `lane` is any lane in which a claim finds the order; `session_name` is that of a session's jobs, and no other filter
    goes with it than `account` and `states`. `after` is the last page's `next`.
    """

    account: str | None = None
    states: frozenset[State] = frozenset()
    kind: OrderKind | None = None
    lane: str | None = None
    session_name: str | None = None
    oldest_first: bool = False
    limit: int = 50
    after: str | None = None


@dataclass(frozen=True, slots=True)
class OrderPage:
    """A page of orders. It is shorter than its limit, and has a `next`, if the store gave up after many unreadable
    orders.
    """

    orders: Sequence[Order]
    next: str | None
    """The opaque mark of the next page; None on the last page."""


class OrderStore(Protocol):
    """Stores orders. Only `apply` changes an order, and `claim`, which applies a claim.

    If this version cannot read an order, methods that take its id, or the idempotency key of its create, raise
    OtherVersion. Methods that return several orders skip it.
    """

    def create(self, order: Order, key: IdempotencyKey) -> Snapshot:
        """Store a new order and its key atomically, and return the order as written.

        If the key was used before with the same fingerprint, return the order of the first use instead. Raises
        KeyReused if the fingerprint differs, Gone if that order was removed since, Conflict if the order's id exists
        with another key.
        """

    def created_with(self, key: IdempotencyKey) -> Snapshot | None:
        """Return the order that was created with this key; None if none was. Raises KeyReused and Gone, as `create`."""

    def get(self, order_id: str) -> Order:
        """Return the order. Raises NotFound."""

    def read(self, order_id: str) -> Snapshot:
        """Return the order as it is now, with its version. Raises NotFound."""

    def get_many(self, order_ids: Collection[str]) -> Mapping[str, Snapshot | UnreadableOrder]:
        """Return those of the orders that exist, by id, with one read."""

    def apply(self, order_id: str, event: AnyEvent, now: datetime, seen: Snapshot | None = None) -> Order:
        """Apply `event` to the order atomically (`rules.advance`), and return the order.

        `seen` saves the first read; if it is stale, the order is read again. If the store's answer may hide a success,
        the order is read again too: it remembers the event's request. Raises NotFound, WrongState, LeaseLost, and
        Unavailable if the store cannot be reached or the order keeps changing.
        """

    def page(self, query: OrderQuery) -> OrderPage:
        """Return a page of orders. Raises Invalid if `after` is not a page mark of this store."""

    def count(self, query: OrderQuery) -> int:
        """Return the number of orders on all of the query's pages, up to 100,000."""

    def claimable(self, lanes: Collection[str], now: datetime, limit: int) -> Sequence[Snapshot]:
        """Return queued orders of these lanes that may be claimed now, sorted by the time since when they may be.

        An order whose queue TTL has passed is not among them, though the sweep has not ended it yet.
        """

    def claimable_by_account(self, lanes: Collection[str], now: datetime, after: str, limit: int) -> AccountsPage:
        """Return at most `limit` orders that `claimable` would return, of the accounts whose names come after `after`.

        They are sorted by account, and an account's by the time since when they may be claimed. Orders that this
        version cannot read may count towards the limit.
        """

    def claim(self, seen: Snapshot, claim: Claim, now: datetime) -> Order:
        """Apply `claim`, whose request asks for any order, to the order in `seen`.

        One request gets one order, even if several instances handle it at the same time: if it already holds another
        order, that one is returned, and this one is not claimed. Raises as `apply` does.
        """

    def remembering(self, request_id: str) -> Sequence[Order]:
        """Return the few orders that this request has changed, and that still remember it.

        With it, a claim of any order whose answer was lost can be repeated at any instance without a second order.
        """

    def held_by(self, launcher: str, to_stop: bool = False) -> Sequence[Order]:
        """Return the orders whose lease names this launcher, at most MAX_HELD; with `to_stop`, only cancelled ones.

        Without an identity, this includes every launcher of its account and name (`holder.means`).
        """

    def count_held(self, account: str, name: str | None = None) -> int:
        """Return the number of orders that launchers of this account hold, up to 100,000; with `name`, only those of
        this name, whatever their identity.
        """

    def held_by_account(self, account: str) -> Sequence[Order]:
        """Return the orders that launchers of this account hold, whatever their names, at most MAX_HELD."""

    def remove(self, order_id: str, key: str | None = None) -> None:
        """Remove an ended order, and this key of its account, which may be a lasting one.

        Do nothing if there is no such order. Raises WrongState if it has not ended.
        """

    def forget_keys(self, used_before: datetime, limit: int) -> int:
        """Remove at most `limit` idempotency keys that were first used before that time, and return their number.

        This includes the documents by which the store remembers claims.
        """

    def waiting_since(self, now: datetime) -> datetime | None:
        """Return the earliest `available_at` of the queued orders that may be claimed now; None if there are none.

        An order that this version cannot read is among them, because it waits, too; so is one whose queue TTL has
        passed, until the sweep has ended it.
        """

    def due(self, states: Collection[State], now: datetime, limit: int) -> Due:
        """Return at most `limit` orders in these states whose `due_at` has passed, the earliest first."""
