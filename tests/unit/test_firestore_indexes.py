"""Every query of the store has its index in production: the emulator would answer without."""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.firestore import Client, Query
from google.cloud.firestore_v1.types import StructuredQuery

from shared.adapters import page_mark
from shared.adapters.firestore import FirestoreOrderStore
from shared.domain.order import FINAL, HELD, State
from shared.domain.spec import OrderKind
from shared.ports import OrderQuery
from tests.factories import NOW, an_order

FILE: Final = Path(__file__).parents[2] / "infra" / "firestore.indexes.json"
EQUAL: Final = {"EQUAL", "IN"}
CONTAINED: Final = {"ARRAY_CONTAINS", "ARRAY_CONTAINS_ANY"}

Index = tuple[str, ...]
"""A collection, then each field with its order, such as `state ASCENDING`."""


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[StructuredQuery]:
    """Each shape of query that the store can send."""
    sent: list[StructuredQuery] = []

    def stream(query: Query, **_: Any) -> Iterator[Any]:
        sent.append(query._to_protobuf())
        return iter(())

    monkeypatch.setattr(Query, "stream", stream)
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
    store = FirestoreOrderStore(Client(project="none", credentials=credentials))
    after = page_mark.mark(an_order())
    queued = frozenset({State.QUEUED})
    for account, states, mark in product((None, "acme"), (frozenset(), queued), (None, after)):
        for kind in (None, OrderKind.TASK):
            store.page(OrderQuery(account=account, states=states, kind=kind, after=mark))
        store.page(OrderQuery(account=account, states=states, lane="*/capacity", oldest_first=True, after=mark))
    store.claimable(["any/task", "any/export"], NOW, limit=10)
    store.due(HELD, NOW, limit=10)
    store.due(FINAL, NOW, limit=10)
    store.remembering("a request")
    store.held_by("rack/alpha")
    store.forget_keys(NOW, limit=10)
    return sent


def test_every_query_of_the_store_is_served_by_a_listed_index(queries: list[StructuredQuery]) -> None:
    listed = _composite_indexes() | _single_field_indexes()

    missing = {_needed(query) for query in queries} - listed

    assert missing == set()


def test_every_listed_index_serves_a_query(queries: list[StructuredQuery]) -> None:
    idle = (_composite_indexes() | _single_field_indexes()) - {_needed(query) for query in queries}

    assert idle == set()


def _needed(query: StructuredQuery) -> Index:
    """Return the one index that serves the query alone: equalities first, then what it is sorted by."""
    filters = [part.field_filter for part in query.where.composite_filter.filters] or [query.where.field_filter]
    equal = sorted(part.field.field_path for part in filters if part.op.name in EQUAL)
    contained = [part.field.field_path for part in filters if part.op.name in CONTAINED]
    sorted_by = [f"{part.field.field_path} {part.direction.name}" for part in query.order_by]
    directions = [part.direction.name for part in query.order_by]
    assert sorted_by[1:] == [f"__name__ {way}" for way in directions[1:]]  # which every index ends in anyway
    assert len(set(directions)) <= 1
    (source,) = query.from_
    fields = [*(f"{field} ASCENDING" for field in equal), *(f"{field} CONTAINS" for field in contained)]
    if not sorted_by:
        return (source.collection_id, *fields)
    return (source.collection_id, *sorted(fields), sorted_by[0])


def _composite_indexes() -> set[Index]:
    """Return the listed ones; the order of their fields before the last is of no account to equalities."""
    indexes = set()
    for index in json.loads(FILE.read_text())["indexes"]:
        *equal, last = [f"{field['fieldPath']} {field.get('order') or 'CONTAINS'}" for field in index["fields"]]
        indexes.add((index["collectionGroup"], *sorted(equal), last))
    return indexes


def _single_field_indexes() -> set[Index]:
    return {
        (field["collectionGroup"], f"{field['fieldPath']} {index.get('order') or index['arrayConfig']}")
        for field in json.loads(FILE.read_text())["fieldOverrides"]
        for index in field["indexes"]
    }
