"""Every route, with every credential and another tenant's ids. The table of routes makes the matrix."""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import pytest
from werkzeug.test import TestResponse

from functions.apis import APIS, EVERYTHING
from functions.apis.capacity import CAPACITY
from functions.apis.capacity.dialect import ADMINS
from functions.domain.access import Role
from functions.domain.accounts import PRIVILEGED
from functions.http.authentication import Open
from functions.http.dialect import NATIVE, Dialect
from functions.http.routing import PATH_NAME, Route
from functions.ports.orders import OrderQuery
from shared.domain.order import State
from tests.functions.jobs.client import register
from tests.functions.world import World
from tests.security.credentials import JUNK, Credential, Tenancy, tenancy

DIALECTS: Final[Mapping[Route, Dialect]] = {route: api.dialect for api in APIS for route in api.routes}
OF_CAPACITY: Final = frozenset(CAPACITY.routes)
GUARDED: Final = [route for route in EVERYTHING if not isinstance(route.access, Open)]
WITH_SECRET: Final = [route for route in EVERYTHING if "secret" in PATH_NAME.findall(route.path)]
OPEN: Final = {
    "POST /v1/callbacks/{order_id}": Open.WORKER,
    "GET /v1/health": Open.ANYONE,
    "GET /health": Open.ANYONE,
    "POST /api/v1/accounts": Open.EITHER,
    "POST /admin/login": Open.ANYONE,
    "POST /admin/logout": Open.WORKER,
    "GET /api/v1/agents/challenge": Open.ANYONE,
    "POST /api/v1/agents/register": Open.ANYONE,
    "POST /api/v1/agents/{agent_id}/heartbeat": Open.ANYONE,
    "POST /callback/{task_id}/{secret}": Open.ANYONE,
    "POST /callback/{task_id}": Open.ANYONE,
    "POST /api/agents/callback/{task_id}/{secret}/{callback}": Open.ANYONE,
    "POST /api/agents/callback/{callback}": Open.ANYONE,
}
"""The routes that take no key. A new one is written down here, with a test of what it does for nobody."""
LAUNCHERS: Final = {
    "POST /api/v1/launchers/capacity/orders/{order_id}": {403, 404, 409},
    "POST /launcher/jobs/{job_id}/started": {200, 404},
    "POST /launcher/jobs/{job_id}/completed": {200, 404},
    "POST /launcher/jobs/{job_id}/failed": {200, 404},
    "POST /launcher/jobs/{job_id}/stopped": {200, 404},
}
"""A launcher may have lost an order to another, and learns so: its report changes nothing, but it may be answered."""
ANSWERED: Final = {"GET /sessions/{session_id}/status", "DELETE /v1/orders/{order_id}"}
"""Their answer to what does not exist is no error: the status says so, and what is removed may be removed again."""
ENDS_SESSIONS: Final = "DELETE /admin/sessions"
REPORT: Final = {"request_id": "a-request-of-mine", "launcher": "alpha", "epoch": 1}
BODIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "POST /v1/updates/{order_id}": {**REPORT, "status": "stopped"},
    "POST /v1/environments/{order_id}": {"launcher": "alpha", "epoch": 1},
    "POST /api/v1/launchers/capacity/orders/{order_id}": {"status": "failed", "error": "mine now"},
    "POST /api/v1/accounts/{account_id}/capacity/request": {"datacenter": "local:dev", "node_size": "tiny"},
    "POST /launcher/jobs/{job_id}/started": {},
    "POST /launcher/jobs/{job_id}/completed": {},
    "POST /launcher/jobs/{job_id}/failed": {"error": "mine now"},
    "POST /launcher/jobs/{job_id}/stopped": {"signal": "SIGTERM"},
    "POST /sessions/{session_id}/events": {
        "event_type": "session_stop",
        "session_name": "survey-1",
        "timestamp": "2026-11-22T12:00:00+00:00",
    },
    "PATCH /sessions/{session_id}/metadata": {"project_dir": "/mine"},
}
"""A body for each route whose path names what another may own. The session's id, and the launcher's, are added."""


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


def test_the_routes_that_take_no_key_are_known() -> None:
    assert {name_of(route): route.access for route in EVERYTHING if isinstance(route.access, Open)} == OPEN


def test_each_credential_is_refused_outside_its_roles_and_leaves_nothing(world: World) -> None:
    there = tenancy(world)
    before = orders_of(world)

    wrong, cells = [], 0
    for route in GUARDED:
        for credential in there.credentials:
            for prefix, headers in ways(route, credential):
                if opens(route, credential):
                    continue
                cells += 1
                answer = send(world, route, there.ids, prefix, headers)
                expected = refusal_of(route, credential)
                if answer.status_code != expected or not in_form(answer, DIALECTS[route]):
                    wrong.append(f"{name_of(route)} as {credential.name} ({prefix}): {answer.status} {answer.text}")

    sys.stdout.write(
        f"{cells} requests outside roles, of {len(GUARDED)} routes and {len(there.credentials)} credentials\n"
    )
    assert wrong == []
    assert cells >= sum(not opens(route, credential) for route in GUARDED for credential in there.credentials)
    assert orders_of(world) == before


def test_each_credential_opens_the_routes_of_its_roles(world: World) -> None:
    """Otherwise the refusals above would prove nothing. What ends sessions comes last, and is sent with one first."""
    there = tenancy(world)

    wrong, cells = [], 0
    for route in sorted(GUARDED, key=lambda route: name_of(route) == ENDS_SESSIONS):
        for credential in sorted(there.credentials, key=lambda credential: not credential.session):
            if not opens(route, credential):
                continue
            for prefix, headers in ways(route, credential):
                cells += 1
                answer = send(world, route, there.absent, prefix, headers)
                if answer.status_code == 401 and "launcher" not in answer.text.lower():
                    wrong.append(f"{name_of(route)} as {credential.name} ({prefix}): {answer.status} {answer.text}")

    sys.stdout.write(f"{cells} requests within the callers' roles\n")
    assert wrong == []
    assert cells >= len(GUARDED)


def test_what_is_anothers_is_answered_as_what_does_not_exist(world: World) -> None:
    there = tenancy(world)
    launchers = [one for one in there.credentials if one.role is Role.LAUNCHER]
    own = {one.name: register(world, str(one.token)).id for one in launchers}
    before = orders_of(world)

    wrong, cells = [], Counter[str]()
    for route, credential, ids in others(there):
        absent = answer_to(world, route, there.absent, credential, own.get(credential.name, ""))
        anothers = answer_to(world, route, ids, credential, own.get(credential.name, ""))
        cells[name_of(route)] += 1
        allowed = LAUNCHERS.get(name_of(route))
        alike = anothers == absent if allowed is None else {anothers[0], absent[0]} <= allowed
        if not alike or (anothers[0] < 400 and allowed is None and name_of(route) not in ANSWERED):
            wrong.append(f"{name_of(route)} as {credential.name}: {anothers} for {ids}, {absent} for none")

    sys.stdout.write(f"{cells.total()} requests for what is another's, of {len(cells)} routes\n")
    assert wrong == []
    assert set(cells) == {name_of(route) for route in named(there) if anybody_opens(route, there)}
    assert orders_of(world) == before


@pytest.mark.parametrize("route", WITH_SECRET, ids=name_of)
def test_no_credential_is_a_secret_of_a_path_but_that_of_the_order_and_its_epoch(world: World, route: Route) -> None:
    there = tenancy(world)
    export, *_ = there.ids["task_id"]
    running = export if route.path.startswith("/callback/") else there.running
    body = {"status": "error", "error": "it ends here"}

    def status(task_id: str, secret: str) -> tuple[int, str]:
        path = route.path.format(task_id=task_id, secret=quote(secret, safe=""), callback="failed")
        answer = world.post(path, {**body, "task_id": task_id}, "")
        return answer.status_code, answer.text.replace(task_id, "(id)")

    absent = status(there.absent["task_id"], "1_" + "A" * 43)
    others = [one for one in there.credentials if one.token and one.name != "worker's secret of a path"]
    refused = {one.name: status(running, str(one.token)) for one in others}

    assert refused == dict.fromkeys(refused, absent)
    assert absent[0] == HTTPStatus.NOT_FOUND
    assert world.order(running).state is State.RUNNING


def test_a_worker_is_known_by_the_token_of_its_order_and_epoch_alone(world: World) -> None:
    there = tenancy(world)
    path, body = f"/v1/callbacks/{there.running}", {"event": "started", "epoch": 1}

    statuses = {one.name: world.post(path, body, headers=one.headers, key="").status_code for one in there.credentials}
    refused = {name for name, status in statuses.items() if status == 401}
    absent = world.post("/v1/callbacks/absent", body, JUNK)

    assert set(statuses) - refused == {"worker's token"}
    assert statuses["worker's token"] == 200
    assert absent.status_code == 401


@pytest.mark.parametrize("account_type", sorted(PRIVILEGED))
def test_only_operators_and_enrolments_make_privileged_accounts(world: World, account_type: str) -> None:
    there = tenancy(world)

    made = {
        one.name: world.http.post(
            "/api/v1/accounts", json={"name": f"new-{n}", "account_type": account_type}, headers=one.headers
        ).status_code
        for n, one in enumerate(there.credentials)
    }

    enrolled = {"enrolment"} if account_type == "launcher" else set()
    assert {name for name, status in made.items() if status == 200} == {"operator", "operator's session", *enrolled}
    assert set(made.values()) <= {200, 401, 403}


def ways(route: Route, credential: Credential) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the ways to send a credential: what is put in front of the path, and the headers."""
    yield "", credential.headers
    if DIALECTS[route].key_in_path and credential.token:
        yield f"/k/{quote(credential.token, safe='')}", {}


def send(
    world: World, route: Route, ids: Mapping[str, Any], prefix: str, headers: Mapping[str, str], body: object = None
) -> TestResponse:
    first = {name: one if isinstance(one, str) else one[0] for name, one in ids.items()}
    path = prefix + PATH_NAME.sub(lambda found: first.get(found[1], "x"), route.path)
    content = b"{}" if body is None else json.dumps(body)
    sent = {**headers, "Idempotency-Key": "one", "Content-Type": "application/json"}
    return world.http.open(path, method=route.method, data=content, headers=sent)


def opens(route: Route, credential: Credential) -> bool:
    assert not isinstance(route.access, Open)
    if credential.session:
        return route in OF_CAPACITY and Role.ADMIN in route.access
    return credential.role in route.access


def refusal_of(route: Route, credential: Credential) -> int:
    """Return the status: 403 for a key of another role. The contract of capacity answers that with 401 to operators."""
    known = credential.role is not None and not (route in OF_CAPACITY and route.access == ADMINS)
    return HTTPStatus.FORBIDDEN if known else HTTPStatus.UNAUTHORIZED


def in_form(answer: TestResponse, dialect: Dialect) -> bool:
    """Return whether a refusal has its API's form, and no more than that."""
    document = answer.get_json()
    if dialect is NATIVE:
        return bool(document["status"] == answer.status_code)
    return bool(dialect.error.validate_python(document).model_dump() == document)


def named(there: Tenancy) -> list[Route]:
    """Return the routes whose path names what somebody owns."""
    return [route for route in GUARDED if set(PATH_NAME.findall(route.path)) & set(there.ids)]


def anybody_opens(route: Route, there: Tenancy) -> bool:
    return any(opens(route, one) for one in there.credentials if one.role is not None and not one.owner)


def others(there: Tenancy) -> Iterator[tuple[Route, Credential, Mapping[str, str]]]:
    """Yield each route with each caller of its roles to whom nothing of it belongs, and each id of the tenant."""
    for route in named(there):
        (name,) = PATH_NAME.findall(route.path)
        for credential in there.credentials:
            if credential.role is not None and not credential.owner and opens(route, credential):
                for one in there.ids[name]:
                    yield route, credential, {name: one}


def answer_to(
    world: World, route: Route, ids: Mapping[str, str], credential: Credential, launcher: str
) -> tuple[int, str, tuple[tuple[str, str], ...]]:
    """Return status, body and headers of the answer, without the ids of the request."""
    (name,) = PATH_NAME.findall(route.path)
    body: Mapping[str, Any] | None = None
    if route.signature.body is not None:
        body = {**BODIES[name_of(route)], **({"session_id": ids[name]} if name == "session_id" else {})}
        body = {**body, "launcher_id": launcher} if route.path.startswith("/launcher/") else body
    answer = send(world, route, ids, "", credential.headers, body)
    headers = tuple((field, value.replace(ids[name], "(id)")) for field, value in answer.headers)
    return answer.status_code, answer.text.replace(ids[name], "(id)"), headers


def orders_of(world: World) -> dict[str, Any]:
    """Return all orders as they are stored."""
    return {order.id: order for order in world.ports.store.page(OrderQuery(account=None, limit=200)).orders}
