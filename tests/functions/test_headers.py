"""Headers that a request may have once, and the methods that only read: both APIs treat them alike."""

from typing import Final
from uuid import uuid4

import pytest
from werkzeug.test import TestResponse

from functions.apis import EVERYTHING
from functions.domain.accounts import AccountType
from functions.domain.order import Output
from functions.http.authentication import Open
from functions.http.routing import PATH_NAME, Route
from shared.domain.order import State
from tests.factories import EXPORT, SESSION, a_key, an_order
from tests.functions.capacity.agents import registered, with_nonce
from tests.functions.jobs.sessions import created, message, report
from tests.functions.world import ADMIN, CLIENT, LAUNCHER, World

TASK_BODY: Final = b'{"order": {"kind": "task", "command": ["true"]}}'
BEARER: Final = f"Bearer {CLIENT}"
EVERY_GET: Final = [route for route in EVERYTHING if route.method == "GET"]


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


def place(world: World, *headers: tuple[str, str]) -> TestResponse:
    return world.http.post("/v1/orders", data=TASK_BODY, headers=[("Authorization", BEARER), *headers])


@pytest.mark.parametrize("again", ["", "another-key"])
def test_an_idempotency_key_that_is_sent_twice_is_refused(world: World, again: str) -> None:
    key = str(uuid4())

    refused = place(world, ("Idempotency-Key", key), ("Idempotency-Key", again or key))

    assert refused.status_code == 400
    assert "Idempotency-Key was sent more than once" in refused.get_json()["detail"]
    assert world.bells.asked == []


@pytest.mark.parametrize("route", [one for one in EVERYTHING if one.access is not Open.ANYONE], ids=name_of)
def test_a_credential_that_is_sent_twice_is_refused(world: World, route: Route) -> None:
    path = PATH_NAME.sub("x", route.path)

    refused = world.http.open(path, method=route.method, headers=[("Authorization", BEARER)] * 2)

    assert refused.status_code == 400
    assert "Authorization was sent more than once" in refused.text


@pytest.mark.parametrize("route", [one for one in EVERYTHING if one.access is Open.ANYONE], ids=name_of)
def test_a_route_that_is_open_to_all_does_not_look_at_credentials(world: World, route: Route) -> None:
    path = PATH_NAME.sub("x", route.path)

    answer = world.http.open(path, method=route.method, headers=[("Authorization", "Digest a=b, c=d")])

    assert "Authorization" not in answer.text


@pytest.mark.parametrize("space", [" ", "\t", "  ", " \t "])
def test_both_apis_accept_the_same_white_space_between_scheme_and_key(world: World, space: str) -> None:
    account_id, key = world.admit(AccountType.DEPLOYER)
    header = {"Authorization": f"bEARER{space}{key} "}

    native = world.http.get("/v1/orders", headers=header)
    contract = world.http.get(f"/api/v1/accounts/{account_id}/capacity/orders", headers=header)

    assert (native.status_code, contract.status_code) == (200, 200)


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic dXNlcg==", "Bearer a b", "Bearer\u00a0a", "Bearer\x85a", "key", "\u00ff"]
)
def test_both_apis_answer_401_to_a_request_without_a_key(world: World, header: str) -> None:
    account_id, _ = world.admit(AccountType.DEPLOYER)

    native = world.http.get("/v1/orders", headers={"Authorization": header})
    contract = world.http.get(f"/api/v1/accounts/{account_id}", headers={"Authorization": header})

    assert (native.status_code, contract.status_code) == (401, 401)
    assert "Bearer" in native.get_json()["detail"]
    assert "Bearer" in contract.get_json()["detail"]


@pytest.mark.parametrize("coding", ["", " ", "identity", "Identity", "identity, identity"])
def test_a_body_without_a_coding_may_say_so(world: World, coding: str) -> None:
    placed = place(world, ("Idempotency-Key", "one"), ("Content-Encoding", coding))

    assert placed.status_code == 201


@pytest.mark.parametrize("coding", ["gzip", "identity, gzip", "gzip, gzip", "br"])
def test_a_body_with_a_coding_is_refused(world: World, coding: str) -> None:
    refused = place(world, ("Idempotency-Key", "one"), ("Content-Encoding", coding))

    assert refused.status_code == 400
    assert "Content-Encoding" in refused.get_json()["detail"]


@pytest.mark.parametrize("route", [route for route in EVERY_GET if route.head and route.answer], ids=name_of)
def test_head_is_answered_as_get_is_without_a_body(world: World, route: Route) -> None:
    account_id, key = world.admit(AccountType.DEPLOYER)
    batch_id = world.post("/export/mods/batch", {"pis": [EXPORT.pi]}).get_json()["batch_id"]
    order_id, job_id = world.place(EXPORT)["id"], world.place(SESSION)["id"]
    created(world, "s-1")
    message(world, "s-1", "Done.")
    report(world, "s-1", "session_stop")
    path = route.path.format(
        order_id=order_id,
        task_id=order_id,
        job_id=job_id,
        session_id="s-1",
        session_name="survey-1",
        batch_id=batch_id,
        account_id=account_id,
        agent_id="x",
    )
    query = {"/v1/holds": "?launcher=alpha", "/api/v1/agents/challenge": "?vm_name=vm-1"}.get(path, "")
    fitting = [one for one in (ADMIN, LAUNCHER, key) if world.get(path + query, one).status_code == 200]

    got, head = (
        world.http.open(path + query, method=method, headers={"Authorization": f"Bearer {fitting[0]}"})
        for method in ("GET", "HEAD")
    )

    assert (got.status_code, head.status_code) == (200, 200)
    assert list(head.headers) == list(got.headers)
    assert got.get_data()
    assert not head.get_data()


def test_head_is_refused_if_its_redirect_would_be_valid_for_get_only(world: World) -> None:
    order = an_order(state=State.SUCCEEDED, output=Output("key", "a.xml", "application/xml", 1, "0" * 64))
    world.ports.store.create(order, a_key(order))
    path = f"/v1/orders/{order.id}/output"

    head = world.http.head(path, headers={"Authorization": BEARER})

    assert world.get(path).status_code == 307
    assert (head.status_code, head.headers["Allow"]) == (405, "GET")


def test_head_takes_no_nonce_away(world: World) -> None:
    path = "/api/v1/agents/challenge?vm_name=vm-1"
    nonce = world.get(path, "").get_json()["nonce"]

    assert world.http.head(path).status_code == 200

    registered(world, attestation=with_nonce(world, bytes.fromhex(nonce)))


def test_every_get_that_leads_elsewhere_or_writes_refuses_head() -> None:
    assert {route.path for route in EVERY_GET if not route.head} == {
        "/v1/orders/{order_id}/output",
        "/launcher/jobs",
    }
    redirecting = [route.path for route in EVERY_GET if route.answer is None and route.head]
    assert redirecting == ["/download/{task_id}"]  # whose HEAD is answered with the file's own headers
