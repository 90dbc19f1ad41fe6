"""What the functions need from the world. Each port has an in-memory adapter, a real one, and one contract suite."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol, TypeVar

from functions.domain.access import ApiKey
from functions.domain.agents import Measured
from functions.domain.events import AnyEvent, Claim
from functions.domain.order import Order
from shared.domain.order import State
from shared.domain.spec import OrderKind
from shared.wire.bell import Bell

T = TypeVar("T")

MAX_HELD: Final = 500
"""How many orders one launcher can hold: a heartbeat names them all."""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A client's key for one create. `fingerprint` is the SHA-256 of the request's body.

    A `lasting` key is not forgotten with time, but by `OrderStore.remove`.
    """

    account: str
    value: str
    fingerprint: str
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An order as it was read, with the store's own mark of that version (compared, never interpreted)."""

    order: Order
    version: object


@dataclass(frozen=True, slots=True)
class UnreadableOrder:
    """An order that exists, and that this version of the control plane cannot read: another version wrote it."""

    order_id: str


@dataclass(frozen=True, slots=True)
class Due:
    """Orders whose time has come. `more`: others may be due that were not read."""

    orders: Sequence[Snapshot]
    more: bool


@dataclass(frozen=True, slots=True)
class OrderQuery:
    """Which orders to list, newest first or oldest. `account` None is every account, no `states` every state.

    `lane` is any in which the order may be asked for; `after` is the last page's `next`.
    """

    account: str | None = None
    states: frozenset[State] = frozenset()
    kind: OrderKind | None = None
    lane: str | None = None
    oldest_first: bool = False
    limit: int = 50
    after: str | None = None


@dataclass(frozen=True, slots=True)
class OrderPage:
    """Fewer orders than asked for, and a `next`: so many could not be read that the store gave up."""

    orders: Sequence[Order]
    next: str | None
    """Opaque; None on the last page."""


class OrderStore(Protocol):
    """The truth. An order is changed in one way only: `apply`, and `claim`, which is one too.

    An order that this version cannot read raises OtherVersion whenever it is asked for by its id, or by the idempotency
    key that it was created with; what returns many passes it over, and goes on behind it.
    """

    def create(self, order: Order, key: IdempotencyKey) -> Snapshot:
        """Store a new order and its key, both or neither, and return it as it was written.

        If the key was used before with the same fingerprint, return the order of that time instead.
        Raises KeyReused if the fingerprint differs, Gone if the order of that time was removed since,
        Conflict if the id is that of another key's order.
        """

    def get(self, order_id: str) -> Order:
        """Raise NotFound if there is no such order."""

    def look(self, order_id: str) -> Snapshot:
        """Return the order as it is now, with its version. Raises NotFound."""

    def get_many(self, order_ids: Collection[str]) -> Mapping[str, Snapshot | UnreadableOrder]:
        """Return those that exist, in one read."""

    def apply(self, order_id: str, event: AnyEvent, now: datetime, seen: Snapshot | None = None) -> Order:
        """Advance the order by `event`, atomically, and return it.

        `seen` saves the first read; if it is stale, the order is read again. An answer of the store that may
        hide a success is resolved by reading again: the order remembers the event's request.
        Raises NotFound, WrongState, LeaseLost; Unavailable when the store cannot be reached or keeps changing.
        """

    def page(self, query: OrderQuery) -> OrderPage:
        """Return a page of orders. Raises Invalid if `after` is not a page mark of ours."""

    def count(self, query: OrderQuery) -> int:
        """Return how many orders the query has on all its pages, up to 100,000."""

    def claimable(self, lanes: Collection[str], now: datetime, limit: int) -> Sequence[Snapshot]:
        """Return queued orders of these lanes that may be claimed now, longest available first."""

    def claim(self, seen: Snapshot, claim: Claim, now: datetime) -> Order:
        """Claim the order that was seen, as `apply` would, for a request that asked for any order.

        One request holds one order, however often and at however many instances it is made at once: if it holds another
        by now, that one is returned, and this one is left. Raises as `apply` does.
        """

    def remembering(self, request_id: str) -> Sequence[Order]:
        """Return the orders that still remember this request as one that changed them, a few at most.

        So that a claim of "any order" whose answer was lost can be repeated, at whichever instance, without taking a
        second order.
        """

    def held_by(self, launcher: str) -> Sequence[Order]:
        """Return the orders whose lease names this launcher, at most MAX_HELD.

        One without an identity means every launcher of its account and name (`holder.means`).
        """

    def remove(self, order_id: str, key: str | None = None) -> None:
        """Remove an order that has ended, and with it this key of its account, which may be a lasting one.

        None there is no error. Raises WrongState if it has not ended.
        """

    def forget_keys(self, used_before: datetime, limit: int) -> int:
        """Remove idempotency keys first used before that time, at most `limit`, and return how many they were.

        What claims are remembered by is forgotten like them.
        """

    def due(self, states: Collection[State], now: datetime, limit: int) -> Due:
        """Return at most `limit` orders in one of these states whose `due_at` has passed, longest due first."""


class KeyStore(Protocol):
    """API keys, by digest."""

    def find(self, key_digest: str) -> ApiKey | None:
        """Raises OtherVersion if there is such a key that this version cannot read."""

    def add(self, key: ApiKey) -> None:
        """Store a key; the same one twice is one."""

    def remove(self, key_digest: str) -> None:
        """Withdraw a key; none there is no error."""


class Records(Protocol[T]):
    """Small things of one kind, frozen dataclasses, each under an id: any text. All raise Unavailable.

    A record that this version cannot read raises OtherVersion whenever it is asked for by its id; `find`, `before` and
    `all` pass it over, and go on behind it.
    """

    def add(self, id_: str, record: T) -> None:
        """Add a record; the same one twice is one. Raises Conflict if there is another of this id."""

    def get(self, id_: str) -> T | None: ...

    def change(self, id_: str, change: Callable[[T], T]) -> T:
        """Replace the record by what `change` makes of it, and return that; if another write was faster, try again.

        If `change` returns the same record, nothing is written.

        Raises NotFound, and whatever `change` raises: then nothing is changed.
        """

    def upsert(self, id_: str, fresh: T, change: Callable[[T], T]) -> T:
        """Add `fresh`, or replace the record that is there by what `change` makes of it; return what is there then.

        A repeat must be harmless: `change` may be given `fresh` itself, if the answer to adding it was lost.
        Raises whatever `change` raises.
        """

    def take(self, id_: str, which: Callable[[T], bool] = lambda _: True) -> T | None:
        """Remove the record and return it: of several that take it, one gets it at most.

        None: there is none, or `which` says that it is not the one meant.
        """

    def find(self, field: str, value: str, limit: int) -> Sequence[T]:
        """Return those whose field is this."""

    def find_every(self, field: str, value: str, limit: int) -> Sequence[T]:
        """As `find`, for those who act on all of them, or on there being none. Raises OtherVersion if one cannot be
        read."""

    def before(self, field: str, time: datetime, limit: int) -> Sequence[T]:
        """Return those whose time is before this one, the oldest first."""

    def all(self, limit: int) -> Sequence[T]: ...


class Appraiser(Protocol):
    """Says what a TD is, from its quote: never we ourselves, who have no collateral."""

    def appraise(self, quote: str) -> str:
        """Return the token of a quote, in base64.

        Raises Forbidden if the quote is refused, Malformed if we have no key to ask for a token, Unavailable.
        """

    def measured(self, token: str, now: datetime) -> Measured:
        """Return what the token vouches for. Raises Malformed if it is not a token, Forbidden, Unavailable."""


class Doorbell(Protocol):
    def ring(self, bell: Bell) -> None:
        """Publish; return when the broker has it. Raises Unavailable."""


@dataclass(frozen=True, slots=True)
class PresignedUpload:
    """One PUT to one key. The uploader sends exactly these headers."""

    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class UploadTerms:
    """What a presigned upload allows: this key, this many bytes, with this SHA-256 (lower-case hex)."""

    key: str
    content_type: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class StoredObject:
    """`sha256` is lower-case hex, or None if the object was not uploaded on our terms."""

    size: int
    sha256: str | None


class OutputBucket(Protocol):
    """Where outputs are kept. Bytes never pass through us: they go by presigned URLs."""

    def presign_upload(self, terms: UploadTerms, valid: timedelta) -> PresignedUpload: ...

    def presign_download(self, key: str, file_name: str, valid: timedelta) -> str:
        """Return a URL whose answer is an attachment named `file_name`."""

    def stat(self, key: str) -> StoredObject | None:
        """Return None if there is no such object. Raises Unavailable."""

    def delete(self, key: str) -> None:
        """Remove the object; none there is no error."""
