"""Every query of the adapters has an index in production; the emulator would answer without one."""

import inspect
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.firestore import Client
from google.cloud.firestore_v1.types import ListenRequest, RunAggregationQueryResponse, StructuredQuery

from functions.adapters import page_mark
from functions.adapters.firestore import FirestoreOrderStore
from functions.adapters.firestore_feed import FirestoreOrderFeed
from functions.adapters.records import FirestoreRecords
from functions.apis.capacity import orders as capacity_orders
from functions.apis.capacity.wire import CapacityStatus
from functions.apis.v1 import orders
from functions.domain.access import Role
from functions.domain.accounts import Account
from functions.domain.agent_sessions import MAX_PAGES, AgentSession, EventPage
from functions.domain.agents import Agent
from functions.domain.job_launchers import JobLauncher
from functions.domain.order import HELD, OPEN
from functions.domain.pools import Pool
from functions.engine.agent_sessions import AgentSessions
from functions.engine.orders import Orders
from functions.engine.quotas import Usage
from functions.engine.session_jobs import SessionJobs
from functions.http.authentication import Principal
from functions.ports.orders import OrderQuery, OrderStore
from functions.ports.records import Records
from shared.domain.order import FINAL, State
from shared.domain.spec import NodeSize, OrderKind
from tests.factories import NOW, an_order
from tests.functions.world import Bells, Clock, ports_for
from tests.threads import MAX_SECONDS

FILE: Final = Path(__file__).parents[2] / "infra" / "firestore.indexes.json"
EQUAL: Final = {"EQUAL", "IN"}
CONTAINED: Final = {"ARRAY_CONTAINS", "ARRAY_CONTAINS_ANY"}
AFTER: Final = page_mark.mark(an_order())
QUEUED: Final = frozenset({State.QUEUED})
DATACENTER: Final = "local:dev"

ASKED: Final[Mapping[str, Callable[[FirestoreOrderStore], object]]] = {
    "claimable": lambda store: store.claimable(["any/task", "any/export"], NOW, limit=10),
    "claimable_by_account": lambda store: store.claimable_by_account(["any/task", "any/export"], NOW, "acme", limit=10),
    "waiting_since": lambda store: store.waiting_since(NOW),
    "due": lambda store: [store.due(states, NOW, limit=10) for states in (HELD, QUEUED, FINAL)],
    "remembering": lambda store: store.remembering("a request"),
    "held_by": lambda store: [store.held_by("rack/alpha", to_stop=to_stop) for to_stop in (False, True)],
    "held_by_account": lambda store: store.held_by_account("rack"),
    "forget_keys": lambda store: store.forget_keys(NOW, limit=10),
    # As `engine.associations` does; the lists' own are drawn by `lists`.
    "page": lambda store: [
        store.page(OrderQuery(states=HELD, lane="local:dev/capacity/tiny", oldest_first=True, after=after))
        for after in (None, AFTER)
    ],
    "count": lambda store: [
        store.count(OrderQuery(lane="*/capacity", oldest_first=True)),
        *(store.count(OrderQuery("acme", OPEN, kind)) for kind in (None, OrderKind.CAPACITY)),
    ],
    "count_held": lambda store: [store.count_held("rack", name) for name in (None, "alpha")],
}
RECORDS: Final[Mapping[str, Callable[[FirestoreRecords[Account]], object]]] = {
    "find": lambda records: records.find("id", "an-account", 1),
    "latest": lambda _records: [],  # only of sessions, below
    "find_every": lambda records: records.find_every("id", "an-account", 1),
    "before": lambda records: records.before("created_at", NOW, 10),
    "all": lambda records: records.all(10),
    "page": lambda records: [
        records.page(where, "created_at", 10, after)
        for where in ({}, {"account_type": "launcher"}, {"unconfirmed": True})
        for after in (None, AFTER)
    ],
    "count": lambda records: [records.count({"account_type": "launcher"}), records.count({"unconfirmed": True})],
}
BY_ID: Final = {
    "create",
    "created_with",
    "get",
    "get_many",
    "apply",
    "remove",
    "add",
    "change",
    "upsert",
    "take",
    "read",
    "claim",
}
"""What asks for documents by their ids, which no index serves."""

Index = tuple[str, ...]
"""A collection, then each field with its order, such as `state ASCENDING`."""


class Needed(NamedTuple):
    """The index that serves a query: first what it compares, in any sequence, then what it is sorted by."""

    collection: str
    compared: frozenset[str]
    sorted_by: tuple[str, ...]

    def is_served_by(self, index: Index) -> bool:
        collection, *fields = index
        compared, sorted_by = fields[: len(self.compared)], fields[len(self.compared) :]
        return (collection, frozenset(compared), tuple(sorted_by)) == self


class Recorder:
    """Stands in for Firestore, for every method of the client; every answer is empty."""

    def __init__(self) -> None:
        self.sent: list[StructuredQuery] = []
        self.listened = threading.Event()

    def run_query(self, request: Mapping[str, Any], **_: Any) -> Iterator[Any]:
        self.sent.append(request["structured_query"])
        return iter(())

    def listen(self, requests: Iterator[ListenRequest], **_: Any) -> "Silence":
        queries = (request.add_target.query.structured_query for request in requests)
        self.sent += islice(queries, 2)  # then it waits until the stream ends
        self.listened.set()
        return Silence()

    def run_aggregation_query(self, request: Mapping[str, Any], **_: Any) -> Iterator[RunAggregationQueryResponse]:
        self.sent.append(request["structured_aggregation_query"].structured_query)
        nothing = {"result": {"aggregate_fields": {"field_1": {"integer_value": 0}}}}
        return iter([RunAggregationQueryResponse(nothing)])


class Silence(list[Any]):
    """A stream that sends nothing."""

    def cancel(self) -> None: ...


@pytest.fixture
def queries() -> list[StructuredQuery]:
    """Each shape of query that the adapters can send."""
    client, recorder = Client(project="none", credentials=AnonymousCredentials()), Recorder()  # type: ignore[no-untyped-call]
    client._firestore_api_internal = recorder
    store = FirestoreOrderStore(client)
    lists(store)
    for ask in ASKED.values():
        ask(store)
    for look in RECORDS.values():
        look(FirestoreRecords(client, "accounts", Account))
    agents, pools = FirestoreRecords(client, "agents", Agent), FirestoreRecords(client, "pools", Pool)
    launchers = FirestoreRecords(client, "job_launchers", JobLauncher)
    for after in (None, AFTER):
        agents.page({}, "registered_at", 10, after)
        agents.page({"datacenter": DATACENTER}, "registered_at", 10, after)
        pools.page({}, "created_at", 10, after)
        launchers.page({}, "registered_at", 10, after)
        launchers.page({"account": "rack"}, "registered_at", 10, after)
    stop = FirestoreOrderFeed(client).follow(lambda _: None, lambda: None)
    assert recorder.listened.wait(MAX_SECONDS)
    stop()
    sessions = FirestoreRecords(client, "agent_sessions", AgentSession)
    pages = FirestoreRecords(client, "agent_session_events", EventPage)
    of_agents(AgentSessions(sessions, pages, SessionJobs(store), lambda: NOW), pages)
    return recorder.sent


def lists(store: FirestoreOrderStore) -> None:
    """Send what both lists can ask: every combination of their filters, by an operator and by an account."""
    ports = replace(ports_for(Clock(), Bells()), store=store)
    usage = Usage(store, ports.pools, ports.clock)
    service = Orders(store, ports.doorbell, usage, ports.clock, ports.new_id)
    admin, client = Principal(Role.ADMIN, "operators"), Principal(Role.CLIENT, "acme")
    for caller, state, kind, after in product((admin, client), (None, *State), (None, *OrderKind), (None, AFTER)):
        orders.list_orders(orders.OrderFilter(state=state, kind=kind, after=after), caller, service)
    for status, datacenter, size, after in product(
        ("", *CapacityStatus), ("", DATACENTER), ("", *NodeSize), (None, AFTER)
    ):
        asked = capacity_orders.OrderFilter(status=status, datacenter=datacenter, node_size=size, after=after)
        capacity_orders.list_orders(asked, service)
        capacity_orders.list_own_orders(asked, client, service, client.account)


def of_agents(sessions: AgentSessions, pages: Records[EventPage]) -> None:
    """Send what is asked about agents' sessions."""
    sessions.jobs.last("acme", "survey-1")
    sessions.jobs.to_stop("acme", "survey-1")
    sessions.jobs.held_for("acme", "survey-1")
    sessions.newest("acme", "survey-1")
    sessions.all("acme")
    sessions.forget(10)
    sessions.records.find("reported", "rack\n1", 1)
    pages.find("session", "acme\n1", MAX_PAGES)


def test_every_method_of_the_ports_that_asks_by_query_is_drawn() -> None:
    methods = {name for port in (OrderStore, Records) for name in vars(port) if inspect.isfunction(vars(port)[name])}

    assert {name for name in methods if not name.startswith("_")} == {*ASKED, *RECORDS, *BY_ID}


def test_every_query_that_can_be_sent_is_served_by_an_index(queries: list[StructuredQuery]) -> None:
    listed = _composite_indexes() | _single_field_indexes()

    missing = {
        needed
        for needed in map(_needed, queries)
        if not any(needed.is_served_by(index) for index in listed) and not _automatic(needed)
    }

    assert missing == set()


def test_every_listed_index_serves_a_query(queries: list[StructuredQuery]) -> None:
    needed = {_needed(query) for query in queries}

    idle = {
        index
        for index in _composite_indexes() | _single_field_indexes()
        if not any(one.is_served_by(index) for one in needed)
    }

    assert idle == set()


def _needed(query: StructuredQuery) -> Needed:
    filters = [part.field_filter for part in query.where.composite_filter.filters] or [query.where.field_filter]
    filters = [part for part in filters if part.field.field_path]
    equal = {f"{part.field.field_path} ASCENDING" for part in filters if part.op.name in EQUAL}
    contained = {f"{part.field.field_path} CONTAINS" for part in filters if part.op.name in CONTAINED}
    directions = {part.direction.name for part in query.order_by}
    assert len(directions) <= 1
    fields = [part.field.field_path for part in query.order_by]
    assert "__name__" not in fields[:-1]  # every index ends in it anyway
    sorted_by = tuple(f"{field} {way}" for field in fields if field != "__name__" for way in directions)
    (source,) = query.from_
    return Needed(source.collection_id, frozenset(equal | contained), sorted_by)


def _automatic(needed: Needed) -> bool:
    """Return whether Firestore makes this index by itself: one for each single field, except in exempt collections."""
    exempt = {field["collectionGroup"] for field in json.loads(FILE.read_text())["fieldOverrides"]}
    return needed.collection not in exempt and len(needed.compared) + len(needed.sorted_by) <= 1


def _composite_indexes() -> set[Index]:
    return {
        (
            index["collectionGroup"],
            *(f"{field['fieldPath']} {field.get('order') or 'CONTAINS'}" for field in index["fields"]),
        )
        for index in json.loads(FILE.read_text())["indexes"]
    }


def _single_field_indexes() -> set[Index]:
    return {
        (field["collectionGroup"], f"{field['fieldPath']} {index.get('order') or index['arrayConfig']}")
        for field in json.loads(FILE.read_text())["fieldOverrides"]
        for index in field["indexes"]
    }
