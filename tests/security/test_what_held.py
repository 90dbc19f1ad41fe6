"""Areas that held under attack, and that no other test had written down."""

import json
from typing import Final
from urllib.parse import quote, unquote

import pytest

from functions.apis import EVERYTHING
from functions.domain.access import ApiKey, Role, digest
from functions.http.authentication import Open
from functions.http.routing import PATH_NAME, Route
from shared.domain.spec import CapacitySpec, NodeSize
from tests.factories import TASK
from tests.functions.world import ADMIN, CLIENT, LAUNCHER, STRANGER, World, next_of

GUARDED: Final = [route for route in EVERYTHING if not isinstance(route.access, Open)]
CURSORS: Final = ("0", "-1", "a/b", "..", "\x00", "__x__", "\U0001f680" * 50, "x" * 500, "null", "[]", "MA==", "%2e%2e")
SPELLINGS: Final = (
    "gcp:us-central1-a/capacity/llm",
    "gcp:*/capacity/llm",
    "gcp/capacity/llm",
    "*/capacity/llm",
    "cloud:*/capacity/llm",
    "any/capacity/llm",
    "baremetal:rack-7:gcp:us-central1-a/capacity/llm",
    "baremetal:*/../gcp:us-central1-a/capacity/llm",
    "GCP:us-central1-a/capacity/llm",
)


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


@pytest.mark.parametrize("route", GUARDED, ids=name_of)
def test_no_spelling_of_a_path_gets_around_its_key(world: World, route: Route) -> None:
    path = PATH_NAME.sub("x", route.path)
    first, _, rest = path[1:].partition("/")
    spelled = (
        f"/{path}",
        f"{path}/",
        f"{path}//",
        f"/.{path}",
        f"/x/..{path}",
        f"/{first}//{rest}",
        f"/{first}%2f{rest}",
        f"/{first}/./{rest}",
        f"{path};x=1",
        f"{path}%00",
        path.upper(),
        f"/k/{quote('x')}/..{path}",
    )

    for one in spelled:
        answer = world.http.open(method=route.method, environ_overrides={"PATH_INFO": unquote(one)})

        assert answer.status_code in (401, 403, 404, 405), f"{one}: {answer.status} {answer.text}"


@pytest.mark.parametrize("cursor", CURSORS)
def test_no_cursor_leads_to_anothers_orders(world: World, cursor: str) -> None:
    own, anothers = set[str](), set[str]()
    for _ in range(3):  # in turn, so that what is behind each cursor is of both
        anothers.add(world.place(TASK, STRANGER)["id"])
        own.add(world.place(TASK)["id"])
    strangers = world.get("/v1/orders?limit=1", STRANGER).get_json()["next"]

    for query in ("", f"after={quote(strangers, safe='')}", f"after={quote(cursor, safe='')}"):
        answer = world.get(f"/v1/orders?{query}")

        assert answer.status_code in (200, 422), answer.text
        if answer.status_code == 200:
            assert {order["id"] for order in answer.get_json()["orders"]} <= own


@pytest.mark.parametrize("lane", SPELLINGS)
def test_no_spelling_of_a_lane_gets_around_a_launchers_datacenters(world: World, lane: str) -> None:
    world.ports.keys.add(ApiKey(digest("ly_kept"), Role.LAUNCHER, "kept", datacenters=("baremetal:rack-7",)))
    spec = CapacitySpec(datacenter="gcp:us-central1-a", node_size=NodeSize.LLM)
    order_id = world.place(spec)["id"]

    answer = world.post("/v1/claims", next_of(lanes=[lane]), "ly_kept")

    assert answer.get_json().get("claimed") is None
    assert world.order(order_id).epoch == 0
    assert world.claim_next(LAUNCHER, lanes=["gcp:us-central1-a/capacity/llm"]) is not None


@pytest.mark.parametrize("field", ["Host", "X-Forwarded-Host", "X-Forwarded-For", "X-Forwarded-Proto", "Forwarded"])
def test_nothing_is_made_of_what_a_request_says_of_its_own_address(world: World, field: str) -> None:
    body = json.dumps({"order": TASK.model_dump(mode="json")})
    sent = {"Authorization": f"Bearer {CLIENT}", "Idempotency-Key": "one", field: "attacker.example"}

    created = world.http.post("/v1/orders", data=body, headers=sent)
    read = world.http.get(f"/v1/orders/{created.get_json()['id']}", headers=sent)

    assert created.headers["Location"] == f"/v1/orders/{created.get_json()['id']}"
    assert "attacker.example" not in f"{created.headers}{created.text}{read.headers}{read.text}"


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL"])
def test_no_header_changes_a_requests_method_or_path(world: World, header: str) -> None:
    order_id = world.place()["id"]
    sent = {"Authorization": f"Bearer {ADMIN}", header: "DELETE" if "Method" in header else "/v1/sweeps"}

    answer = world.http.get(f"/v1/orders/{order_id}", headers=sent)

    assert (answer.status_code, answer.get_json()["id"]) == (200, order_id)
