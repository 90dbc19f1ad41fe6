"""Orders in Firestore.

Every change of an order is a conditional write: it succeeds only if the document is still the version that was read
(`last_update_time`). There are no transactions, so nothing is locked between read and write, and a lost race costs one
failed write. If an answer may hide a success, the store reads again and looks for what only its own write could have
left: a key's order, or an order's request ids.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from google.api_core.exceptions import AlreadyExists, FailedPrecondition
from google.cloud.firestore import Client, DocumentReference, FieldFilter, Query
from pydantic import TypeAdapter, ValidationError

from functions.adapters import order_document, page_mark
from functions.adapters.firestore_calls import ONCE, TRANSIENT, LostRace, of_callers, persistently
from functions.adapters.firestore_claims import FirestoreClaims, lifetime
from functions.adapters.order_document import plain
from functions.adapters.page_mark import ORDER_ID
from functions.adapters.reading import (
    Reading,
    count,
    note_unreadable,
    order_of,
    present_order,
    read_one,
    read_page,
    read_past,
)
from functions.domain.events import AnyEvent, Claim
from functions.domain.holder import account_of, means, split_holder
from functions.domain.order import Order
from functions.domain.refusals import Conflict, Gone, KeyReused, NotFound, Refusal
from functions.domain.rules import advance, require_ended
from functions.ports.orders import (
    MAX_HELD,
    AccountsPage,
    Due,
    IdempotencyKey,
    OrderPage,
    OrderQuery,
    Snapshot,
    UnreadableOrder,
)
from shared.domain.order import State

ORDERS: Final = "orders"
IDEMPOTENCY_KEYS: Final = "idempotency_keys"

MAX_COUNTED: Final = 100_000
AFTER_SLASH: Final = chr(ord("/") + 1)
"""The character after the slash that ends the account in a launcher's text."""
MAX_LANES: Final = 30
"""The limit of one query: Firestore compares with at most this many values."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Before any time that is stored. A comparison with it finds the documents that have the field."""
REMEMBERING: Final = 10
"""How many orders of one request are read: the request holds one, and may have lost others before."""


@dataclass(frozen=True, slots=True)
class _KeyFields:
    """The fields of an idempotency key's document that this class reads."""

    fingerprint: str
    order_id: str


USED_KEY: Final = TypeAdapter(_KeyFields)


class FirestoreOrderStore:
    """Stores one document for each order, and one for each idempotency key."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._orders = client.collection(ORDERS)
        self._keys = client.collection(IDEMPOTENCY_KEYS)
        self._claims = FirestoreClaims(client, self._orders, self._keys)

    @persistently
    def create(self, order: Order, key: IdempotencyKey) -> Snapshot:
        batch = self._client.batch()
        batch.create(self._document(order.id), order_document.encode(order))
        used = {**asdict(key), "order_id": order.id, **lifetime(None if key.lasting else order.created_at)}
        batch.create(self._keys.document(_key_id(key.account, key.value)), used)
        try:
            written, _ = batch.commit(**ONCE)
        except (AlreadyExists, *TRANSIENT) as error:
            return self._created_before(order, key, error)
        return Snapshot(order, written.update_time)

    @persistently
    def created_with(self, key: IdempotencyKey) -> Snapshot | None:
        return self._created_with(key)

    @persistently
    def get(self, order_id: str) -> Order:
        return self._read(order_id).order

    @persistently
    def read(self, order_id: str) -> Snapshot:
        return self._read(order_id)

    @persistently
    def get_many(self, order_ids: Collection[str]) -> Mapping[str, Snapshot | UnreadableOrder]:
        wanted = [self._orders.document(order_id) for order_id in set(order_ids) if ORDER_ID.fullmatch(order_id)]
        found, passed = dict[str, Snapshot | UnreadableOrder](), dict[str, ValidationError]()
        for document in self._client.get_all(wanted, **ONCE) if wanted else ():
            if not document.exists:
                continue
            try:
                found[document.id] = order_of(document)
            except ValidationError as error:
                found[document.id], passed[document.id] = UnreadableOrder(document.id), error
        note_unreadable(passed)
        return found

    def apply(self, order_id: str, event: AnyEvent, now: datetime, seen: Snapshot | None = None) -> Order:
        if seen is not None:
            # Only a write proves that `seen` is the current version: a refusal may be about an earlier one.
            with suppress(Refusal, *TRANSIENT):
                changed = advance(seen.order, event, now)
                if self._replace(seen, changed):
                    return changed
        return self._apply_to_present(order_id, event, now)

    @of_callers
    @persistently
    def page(self, query: OrderQuery) -> OrderPage:
        found = self._sorted(query)
        if query.after is not None:
            found = found.start_after(self._position(query.after))
        read = read_past(found, query.limit + 1, order_of)
        page = [snapshot.order for snapshot in read.found[: query.limit]]
        if len(read.found) > query.limit:
            return OrderPage(page, page_mark.mark(page[-1]))
        return OrderPage(page, _mark(read))

    @of_callers
    @persistently
    def count(self, query: OrderQuery) -> int:
        return _count(self._sorted(query))

    @of_callers
    @persistently
    def claimable(self, lanes: Collection[str], now: datetime, limit: int) -> Sequence[Snapshot]:
        queries = [query.order_by("available_at").order_by("expires_at") for query in self._waiting(lanes, now)]
        found = {one.order.id: one for query in queries for one in _run(query, limit)}
        return sorted(found.values(), key=lambda one: (one.order.available_at, one.order.id))[:limit]

    @of_callers
    @persistently
    def claimable_by_account(self, lanes: Collection[str], now: datetime, after: str, limit: int) -> AccountsPage:
        found, ends = dict[str, Snapshot](), list[str]()
        for waiting in self._waiting(lanes, now):
            beyond = waiting.where(filter=FieldFilter("account", ">", after)).order_by("account")
            read = read_page(beyond.order_by("available_at").order_by("expires_at"), limit, order_of)
            found |= {one.order.id: one for one in read.found}
            if not read.whole and read.last is not None:
                ends.append(read.last.get("account"))
        last = min(ends, default=None)  # none of the queries has left out an account before this one
        page = [one for one in found.values() if last is None or one.order.account <= last]
        page.sort(key=lambda one: (one.order.account, one.order.available_at, one.order.id))
        if len(page) > limit:
            page, last = page[:limit], page[limit - 1].order.account
        return AccountsPage(page, last)

    def claim(self, seen: Snapshot, claim: Claim, now: datetime) -> Order:
        return self._claims.claim(seen, claim, now)

    @of_callers
    @persistently
    def remembering(self, request_id: str) -> Sequence[Order]:
        found = _run(self._orders.where(filter=FieldFilter("recent", "array_contains", request_id)), REMEMBERING)
        return [snapshot.order for snapshot in found]

    @of_callers
    @persistently
    def held_by(self, launcher: str, to_stop: bool = False) -> Sequence[Order]:
        name, _ = split_holder(launcher)
        asked = self._orders.where(filter=FieldFilter("lease.launcher", "==", name))
        if to_stop:
            asked = asked.where(filter=FieldFilter("cancel_requested_at", ">", EPOCH)).order_by("cancel_requested_at")
        held = (snapshot.order for snapshot in _run(asked, MAX_HELD))
        return [order for order in held if order.lease is not None and means(launcher, order.lease.launcher)]

    @persistently
    def count_held(self, account: str, name: str | None = None) -> int:
        if name is not None:
            return _count(self._orders.where(filter=FieldFilter("lease.launcher", "==", f"{account}/{name}")))
        return _count(self._held_by_account(account))

    @persistently
    def held_by_account(self, account: str) -> Sequence[Order]:
        held = (snapshot.order for snapshot in _run(self._held_by_account(account), MAX_HELD))
        return [order for order in held if order.lease is not None and account_of(order.lease.launcher) == account]

    def _held_by_account(self, account: str) -> Query:
        """Every holder of this account, and only such a one, sorts from "<account>/" up to the next character."""
        named = self._orders.where(filter=FieldFilter("lease.launcher", ">=", f"{account}/"))
        named = named.where(filter=FieldFilter("lease.launcher", "<", f"{account}{AFTER_SLASH}"))
        return named.order_by("lease.launcher")

    @persistently
    def remove(self, order_id: str, key: str | None = None) -> None:
        try:
            present = self._read(order_id)
        except NotFound:
            return
        require_ended(present.order)
        batch = self._client.batch()
        batch.delete(self._document(order_id), self._client.write_option(last_update_time=present.version))
        if key is not None:
            batch.delete(self._keys.document(_key_id(present.order.account, key)))
        try:
            batch.commit(**ONCE)
        except FailedPrecondition as error:
            raise LostRace(f"Order {order_id} changed after it was read.") from error

    @persistently
    def forget_keys(self, used_before: datetime, limit: int) -> int:
        old = self._keys.where(filter=FieldFilter("created_at", "<", used_before)).order_by("created_at")
        found = [document.reference for document in old.limit(limit).stream(**ONCE)]
        batch = self._client.batch()
        for reference in found:
            batch.delete(reference)
        if found:
            batch.commit(**ONCE)
        return len(found)

    @persistently
    def waiting_since(self, now: datetime) -> datetime | None:
        """Read one document, and of it one field, which every version writes."""
        queued = self._orders.where(filter=FieldFilter("state", "==", State.QUEUED))
        waiting = queued.where(filter=FieldFilter("available_at", "<=", now)).order_by("available_at")
        for document in waiting.select(["available_at"]).limit(1).stream(**ONCE):
            since: datetime = plain(document.get("available_at"))
            return since
        return None

    @persistently
    def due(self, states: Collection[State], now: datetime, limit: int) -> Due:
        among = self._orders.where(filter=FieldFilter("state", "in", sorted(states)))
        read = read_past(among.where(filter=FieldFilter("due_at", "<=", now)).order_by("due_at"), limit, order_of)
        return Due(read.found, not read.whole)

    @persistently
    def _apply_to_present(self, order_id: str, event: AnyEvent, now: datetime) -> Order:
        present = self._read(order_id)
        changed = advance(present.order, event, now)
        self._replace(present, changed)
        return changed

    def _replace(self, seen: Snapshot, changed: Order) -> bool:
        """Write the fields that differ, and return whether any did. Raises LostRace if the order has changed since
        `seen`.
        """
        differences = order_document.changes(seen.order, changed)
        if not differences:
            return False
        unchanged = self._client.write_option(last_update_time=seen.version)
        try:
            self._document(changed.id).update(differences, unchanged, **ONCE)
        except FailedPrecondition as error:
            raise LostRace(f"Order {changed.id} changed after it was read.") from error
        return True

    def _created_before(self, order: Order, key: IdempotencyKey, error: Exception) -> Snapshot:
        """Return the order of this key: an earlier request created it, or this one did and its answer was lost."""
        if (before := self._created_with(key)) is not None:
            return before
        if isinstance(error, AlreadyExists):
            raise Conflict(f"There is an order {order.id} already, of another Idempotency-Key.") from error
        raise error

    def _created_with(self, key: IdempotencyKey) -> Snapshot | None:
        document = self._keys.document(_key_id(key.account, key.value)).get(**ONCE)
        if not document.exists:
            return None
        used = read_one(document, USED_KEY)
        if used.fingerprint != key.fingerprint:
            raise KeyReused("This Idempotency-Key was used for another order; use a new key for a new order.")
        try:
            return self._read(used.order_id)
        except NotFound:
            raise Gone(f"The order {used.order_id} of this Idempotency-Key was removed.") from None

    def _read(self, order_id: str) -> Snapshot:
        return present_order(self._document(order_id).get(**ONCE))

    def _waiting(self, lanes: Collection[str], now: datetime) -> list[Query]:
        """Return the queries, one for each MAX_LANES of the lanes, of the orders that may be claimed now.

        The index skips the others, so an account cannot have them read by placing many that are dead.
        """
        wanted = sorted(set(lanes))
        queued = self._orders.where(filter=FieldFilter("state", "==", State.QUEUED))
        claimable = queued.where(filter=FieldFilter("available_at", "<=", now)).where(
            filter=FieldFilter("expires_at", ">", now)
        )
        return [
            claimable.where(filter=FieldFilter("lanes", "array_contains_any", wanted[first : first + MAX_LANES]))
            for first in range(0, len(wanted), MAX_LANES)
        ]

    def _sorted(self, query: OrderQuery) -> Query:
        """Return the query, sorted even for a count: an index serves only queries with the index's own sort order."""
        asked = [
            ("account", "==", query.account),
            ("spec.kind", "==", query.kind),
            ("state", "in", sorted(query.states) or None),
            ("lanes", "array_contains", query.lane),
            ("spec.session_name", "==", query.session_name),
        ]
        found: Query = Query(self._orders)
        for field, operator, value in asked:
            if value is not None:
                found = found.where(filter=FieldFilter(field, operator, value))
        direction = Query.ASCENDING if query.oldest_first else Query.DESCENDING
        return found.order_by("created_at", direction=direction).order_by("__name__", direction=direction)

    def _document(self, order_id: str) -> DocumentReference:
        if not ORDER_ID.fullmatch(order_id):
            raise NotFound("There is no such order.")
        return self._orders.document(order_id)

    def _position(self, after: str) -> dict[str, Any]:
        created_at, order_id = page_mark.read(after)
        return {"created_at": created_at, "__name__": self._orders.document(order_id)}


def _run(query: Query, limit: int) -> Sequence[Snapshot]:
    return read_past(query, limit, order_of).found


def _count(query: Query) -> int:
    """Return the number of the query's documents, up to MAX_COUNTED."""
    return count(query.limit(MAX_COUNTED))


def _mark(read: Reading[Snapshot]) -> str | None:
    """Return the mark of the next page; None if nothing is left."""
    if read.whole or read.last is None:
        return None
    return page_mark.mark_at(plain(read.last.get("created_at")), read.last.id)


def _key_id(account: str, value: str) -> str:
    """Return a document id for any key: Firestore does not allow every character that a client may send."""
    return hashlib.sha256(json.dumps([account, value]).encode()).hexdigest()
