"""Every route answers any input in its API's form, and never with a 5xx, also over the real store."""

from dataclasses import fields, replace
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

import pytest
from google.cloud.firestore import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from functions.adapters.firestore import FirestoreOrderStore
from functions.adapters.firestore_keys import FirestoreKeyStore
from functions.adapters.memory_records import MemoryRecords
from functions.adapters.records import FirestoreRecords
from functions.apis import APIS, EVERYTHING
from functions.domain.accounts import Account, Enrolment, Removal
from functions.domain.agent_sessions import AgentSession, EventPage
from functions.domain.agents import Agent, SpentProof
from functions.domain.batches import Batch
from functions.domain.job_launchers import JobLauncher
from functions.domain.parent_notices import Mailbox, Notice
from functions.domain.pools import Pool
from functions.engine.candidates import Candidates
from functions.engine.operator_sessions import SessionEnd, Sessions
from functions.http.authentication import CachedKeys
from functions.http.routing import Route
from tests.functions.junk import Known, Untouched, known, requests
from tests.functions.world import KEYS, PASSWORD, SECRET, World
from tests.sampling import sample

NATIVE: Final = "/v1/"
KINDS: Final = {
    "accounts": Account,
    "removals": Removal,
    "enrolments": Enrolment,
    "pools": Pool,
    "batches": Batch,
    "spent_proofs": SpentProof,
    "agents": Agent,
    "agent_sessions": AgentSession,
    "agent_session_events": EventPage,
    "job_notices": Notice,
    "parent_mailboxes": Mailbox,
    "job_launchers": JobLauncher,
    "session_ends": SessionEnd,
}
DIALECTS: Final = {route: api.dialect for api in APIS for route in api.routes}
SAME_EACH_TIME: Final[Any] = {
    "deadline": None,
    "database": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
}


@pytest.mark.parametrize("route", EVERYTHING, ids=lambda route: f"{route.method} {route.path}")
@pytest.mark.parametrize("examples", [10, pytest.param(60, marks=pytest.mark.slow)])
def test_junk_is_answered_in_the_routes_form_and_never_with_a_5xx(world: World, route: Route, examples: int) -> None:
    send_junk(world, route, examples, Untouched(lambda: known(world, route)))


@pytest.mark.emulator
@pytest.mark.parametrize("route", sample(EVERYTHING, first=2), ids=lambda route: f"{route.method} {route.path}")
@pytest.mark.parametrize("examples", [5, pytest.param(30, marks=pytest.mark.slow)])
def test_junk_is_answered_so_over_firestore_too(stored: World, route: Route, examples: int) -> None:
    send_junk(stored, route, examples, Untouched(lambda: known(stored, route)))


def send_junk(world: World, route: Route, examples: int, there: Untouched[Known]) -> None:
    """Send this number of requests to a store with these records."""

    @settings(max_examples=examples, **SAME_EACH_TIME)
    @given(data=st.data())
    def answers(data: st.DataObject) -> None:
        answered(send(world, data.draw(requests(route, there.get())), there), route)

    answers()


def send(world: World, request: dict[str, Any], there: Untouched[Known]) -> TestResponse:
    response = world.http.open(**request)
    there.note(request["method"], response.status_code)
    if response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        world.clock.now += timedelta(minutes=1)
    return response


def answered(response: TestResponse, route: Route) -> None:
    assert response.status_code < 500, response.text
    if response.status_code < 400:
        assert response.status_code in (route.status, route.redirect_status, *([204] if route.may_be_empty else []))
    elif route.path.startswith(NATIVE):
        assert response.content_type == "application/problem+json"
        assert response.get_json()["status"] == response.status_code
    else:
        error = DIALECTS[route].error.validate_json(response.get_data())
        assert response.content_type == "application/json"
        assert response.get_json() == error.model_dump()


@pytest.fixture
def stored(world: World, firestore_client: Client) -> World:
    """The same control plane over Firestore."""
    store, keys = FirestoreOrderStore(firestore_client), FirestoreKeyStore(firestore_client)
    for key in KEYS:
        keys.add(key)
    ports = world.ports
    kept = {field.name for field in fields(ports) if isinstance(getattr(ports, field.name), MemoryRecords)}
    assert kept == set(KINDS)
    records: dict[str, Any] = {name: FirestoreRecords(firestore_client, name, kind) for name, kind in KINDS.items()}
    world.ports = replace(
        world.ports,
        store=store,
        keys=CachedKeys(keys),
        any_order=Candidates(store),
        oldest_first=Candidates(store),
        sessions=Sessions(SECRET, PASSWORD, ends=records["session_ends"], clock=world.clock),
        **records,
    )
    return world
