"""The ports of the control plane. Each has an in-memory adapter, a real one, and one contract test suite for both."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Generic, Protocol, TypeVar

from functions.domain.access import ApiKey
from functions.domain.agents import Measured
from functions.domain.events import AnyEvent, Claim
from functions.domain.multipart import Part, PartLimits
from functions.domain.order import Order
from shared.domain.order import State
from shared.domain.spec import OrderKind
from shared.wire.bell import Bell

T = TypeVar("T")
Clock = Callable[[], datetime]
NewId = Callable[[], str]
"""Returns a new UUID."""

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


@dataclass(frozen=True, slots=True)
class RecordPage(Generic[T]):
    """A page of records. Its `next` is the mark of the next page; None on the last page."""

    records: Sequence[T]
    next: str | None


class WorkerCredentials(StrEnum):
    """The bucket credentials that an image which uploads by itself gets.

    `TEMPORARY` are R2's, for one prefix and a short time, with a session token. `EMBEDDED` are the same with the token
    in the access key id, for images that know no session token; R2 does not accept them, the local stack does. `PLAIN`
    are the bucket's own, which reach everything in it until they are changed.
    """

    TEMPORARY = "temporary"
    EMBEDDED = "embedded"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class BucketCredentials:
    """What an S3 client needs to write below one prefix of the bucket. `endpoint` is None for Amazon's own."""

    account_id: str
    bucket: str
    endpoint: str | None
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(repr=False)


class CredentialIssuer(Protocol):
    """Issues credentials for images that upload by themselves."""

    def issue(self, prefix: str, now: datetime, valid: timedelta) -> BucketCredentials:
        """Return credentials that can write keys below `prefix` until `now + valid`; at most 7 days count.

        Raises Conflict if the bucket has no such credentials.
        """


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


class OrderFeed(Protocol):
    """Tells of changes in the order store as they happen, whichever instance makes them."""

    def follow(self, on_order: Callable[[Snapshot], None], on_gap: Callable[[], None]) -> Callable[[], None]:
        """From now on, call `on_order` with each order that becomes queued, and with each held order that is to stop.
        Return a function that ends this.

        An order may be reported again, and may have changed since. If the feed does not work at once, or after a fault,
        `on_gap` is called once it works: changes until then were perhaps not reported. The feed leaves out orders that
        this version cannot read. Both functions are called on another thread, or by the writer; they must not raise,
        wait, or end the feed.
        """


class KeyStore(Protocol):
    """Stores API keys by their digest."""

    def find(self, key_digest: str) -> ApiKey | None:
        """Return the key, or None. Raises OtherVersion if it exists, but this version cannot read it."""

    def add(self, key: ApiKey) -> None:
        """Store a key. A repeat with the same key changes nothing."""

    def mark_used(self, key_digest: str) -> None:
        """Record that a key was used (`ApiKey.unused`). Do nothing if there is none."""

    def remove(self, key_digest: str) -> None:
        """Remove a key. Do nothing if there is none."""


class Records(Protocol[T]):
    """Stores small records of one kind: frozen dataclasses, by an id (any text). Every method raises Unavailable.

    If this version cannot read a record, methods that take its id raise OtherVersion; `find`, `latest`, `before`,
    `page` and `all` skip it.
    """

    def add(self, id_: str, record: T) -> None:
        """Add a record. A repeat with the same record changes nothing. Raises Conflict if another has this id."""

    def get(self, id_: str) -> T | None: ...

    def change(self, id_: str, change: Callable[[T], T]) -> T:
        """Replace the record with the result of `change`, and return that; if another write was faster, try again.

        If `change` returns the same record, nothing is written.

        Raises NotFound, and what `change` raises; then nothing is written.
        """

    def upsert(self, id_: str, fresh: T, change: Callable[[T], T]) -> T:
        """Add `fresh`, or replace an existing record with the result of `change`; return the stored record.

        `change` must be safe to repeat: it may get `fresh` itself, if the answer to its addition was lost. Raises what
        `change` raises.
        """

    def take(self, id_: str, which: Callable[[T], bool] = lambda _: True) -> T | None:
        """Remove the record and return it. If several callers take it, at most one gets it.

        Return None if there is none, or if `which` rejects it.
        """

    def find(self, field: str, value: str, limit: int) -> Sequence[T]:
        """Return the records whose field has this value."""

    def find_every(self, field: str, value: str, limit: int) -> Sequence[T]:
        """Do the same as `find`, for callers that need all matches. Raises OtherVersion if one cannot be read."""

    def latest(self, field: str, value: str, by: str, limit: int) -> Sequence[T]:
        """Return the records whose field has this value, those with the latest time `by` first."""

    def before(self, field: str, time: datetime, limit: int) -> Sequence[T]:
        """Return the records whose time is before this one, oldest first."""

    def page(self, where: Mapping[str, str | bool], by: str, limit: int, after: str | None = None) -> RecordPage[T]:
        """Return a page of the records whose fields have these values, those with the earliest time `by` first.

        `after` is the last page's `next`. Raises Invalid if it is not a page mark of this store.
        """

    def count(self, where: Mapping[str, str | bool]) -> int:
        """Return the number of records whose fields have these values, also of those that cannot be read."""

    def all(self, limit: int) -> Sequence[T]: ...


class Appraiser(Protocol):
    """An external service that appraises quotes: the control plane itself has no collateral."""

    def appraise(self, quote: str) -> str:
        """Return the token for a quote (base64).

        Raises Forbidden if the quote is refused, Malformed if there is no key for the service, Unavailable.
        """

    def measured(self, token: str, now: datetime) -> Measured:
        """Return the token's statements. Raises Malformed if it is not a token, Forbidden, Unavailable."""


class Doorbell(Protocol):
    def ring(self, bell: Bell) -> None:
        """Publish the bell, and return once the broker has it. Raises Unavailable."""


@dataclass(frozen=True, slots=True)
class PresignedUpload:
    """One PUT to one key. The uploader must send exactly these headers."""

    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class UploadTerms:
    """The terms of a presigned upload: its key, its size in bytes, and its SHA-256 (lower-case hex)."""

    key: str
    content_type: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class StoredObject:
    """`sha256` is lower-case hex, or None if the object was not uploaded by one of our URLs. `etag` is its entity tag,
    with quotes: another one if the object was replaced.
    """

    size: int
    sha256: str | None
    etag: str = field(default='""', compare=False)


@dataclass(frozen=True, slots=True)
class UploadedPart:
    """A part that the bucket holds. `etag` names these bytes when the parts are joined."""

    size: int
    etag: str


class PartUploads(Protocol):
    """Uploads of one object in several parts. Every method but `presign` raises Unavailable."""

    @property
    def limits(self) -> PartLimits: ...

    def begin(self, terms: UploadTerms) -> str:
        """Begin an upload on these terms, and return its id. The bucket keeps its parts until it is completed or
        aborted.
        """

    def find(self, key: str, upload_id: str) -> Mapping[int, UploadedPart] | None:
        """Return the parts that are there, by number; None if this upload is not open."""

    def presign(self, key: str, upload_id: str, part: Part, valid: timedelta) -> PresignedUpload:
        """Return a presigned upload of exactly the part's number of bytes."""

    def complete(self, key: str, upload_id: str, parts: Mapping[int, UploadedPart]) -> None:
        """Join the parts to the object. Do nothing if this upload is not open."""

    def abort(self, key: str) -> None:
        """Remove every open upload of this key, and of keys below it (`<key>/…`), with its parts."""


class OutputBucket(Protocol):
    """Stores outputs. Their bytes pass through the control plane only for clients that cannot use a presigned URL."""

    @property
    def part_uploads(self) -> PartUploads | None:
        """Uploads of what is too large for one request; None if one request may upload any output."""

    def presign_upload(self, terms: UploadTerms, valid: timedelta) -> PresignedUpload: ...

    def presign_download(self, key: str, file_name: str, valid: timedelta) -> str:
        """Return a URL that downloads the object as an attachment named `file_name`."""

    def stat(self, key: str) -> StoredObject | None:
        """Return the object's size and digest; None if there is none. Raises Unavailable."""

    def read(self, key: str, first: int, last: int) -> Iterator[bytes]:
        """Return the object's bytes from `first` to `last`, which must exist.

        Raises NotFound and Unavailable before it returns any.
        """

    def copy(self, source: str, target: str, content_type: str) -> int | None:
        """Copy the object's bytes to the key `target`, and return their number; None if there is no such object.

        Of what the object's uploader said of it, such as its type, the copy has nothing. Raises Unavailable.
        """

    def delete_below(self, prefix: str) -> None:
        """Remove every object whose key begins with the prefix. Raises Unavailable."""
