"""Every text that a route takes is bounded, a body has room for all its fields, and every answer can be sent."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Final
from uuid import uuid4

import pytest
from pydantic import BaseModel
from pydantic_core import to_json
from werkzeug.test import TestResponse

from functions.adapters.memory import MemoryOrderStore
from functions.apis import EVERYTHING
from functions.apis.capacity import orders as capacity_orders
from functions.apis.capacity.wire import CapacityOrder, lane_of
from functions.apis.v1 import orders
from functions.apis.v1.views import order_view
from functions.domain.accounts import Account, AccountType
from functions.http.paging import PAGE_BYTES
from functions.http.routing import Route
from functions.ports.orders import OrderPage, OrderQuery
from shared.domain.spec import CapacitySpec, NodeSize, SessionSpec, TaskSpec
from tests.factories import NOW, an_order
from tests.functions import schemas
from tests.functions.world import ADMIN, CLIENT, World

MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
"""Cloud Run's limit for one response."""
MAX_BODY_BYTES: Final = 1024 * 1024
"""What the front end of any deployment takes, and what our own drops of a body that nobody reads."""
MAX_COMPARED_BYTES: Final = 1500
"""The longest value that a Firestore query compares with."""
WIDE_CHARACTER: Final = "🚀"
AWKWARD: Final = "\x01"
"""What JSON has no shorter way to write than 6 bytes."""
LARGEST_TASK: Final = TaskSpec(command=(AWKWARD * 1024,) * 64)
SESSION: Final = SessionSpec(session_name="s" * 60, prompt=AWKWARD * 65_536)
CAPACITY: Final = CapacitySpec(datacenter=f"{'c' * 32}:{'z' * 96}", node_size=NodeSize.TINY, purpose=AWKWARD * 200)
METRICS: Final = {f"{'m' * 62}{number}": 0.123456789 for number in range(10, 60)}
EVERY: Final = pytest.mark.parametrize("route", EVERYTHING, ids=lambda route: f"{route.method} {route.path}")


@EVERY
def test_every_text_of_a_query_is_bounded(route: Route) -> None:
    texts = [part for part in schemas.within(schemas.query_of(route)) if part.get("type") == "string"]

    assert max((schemas.most_characters(text) for text in texts if "enum" not in text), default=0) <= 1000


@EVERY
def test_a_body_has_room_for_all_that_its_fields_may_have(route: Route) -> None:
    schema = schemas.body_of(route)

    assert (0 if schema is None else schemas.most_bytes(schema)) <= route.max_bytes <= MAX_BODY_BYTES


def test_a_lane_that_is_looked_for_is_one_that_firestore_compares_with() -> None:
    parts = capacity_orders.OrderFilter.model_json_schema()["properties"]

    lane = lane_of(*(WIDE_CHARACTER * parts[name]["maxLength"] for name in ("datacenter", "node_size")))

    assert len(lane.encode()) <= MAX_COMPARED_BYTES


@pytest.mark.parametrize("argument", [WIDE_CHARACTER * 1024, AWKWARD * 1024])
def test_the_longest_command_is_accepted_with_any_characters_and_escapes(world: World, argument: str) -> None:
    for ensure_ascii in (True, False):
        body = json.dumps({"order": {"kind": "task", "command": [argument] * 64}}, ensure_ascii=ensure_ascii)

        placed = world.http.post("/v1/orders", data=body.encode(), headers=headers())

        assert placed.status_code == 201, placed.text


def test_the_refusal_of_a_too_large_body_says_what_helps(world: World) -> None:
    refused = world.http.post("/v1/orders", data=b" " * (orders.MAX_BYTES + 1), headers=headers())

    assert refused.status_code == 413
    assert "1024 KiB" in refused.get_json()["detail"]
    assert "UTF-8" in refused.get_json()["detail"]


@pytest.mark.parametrize(
    ("largest", "at_once"),
    [
        (order_view(replace(an_order(SESSION), message=AWKWARD * 4000, metrics=METRICS)), orders.READ_AT_ONCE),
        (
            CapacityOrder.of(replace(an_order(CAPACITY), message=AWKWARD * 4000, vm=AWKWARD * 255)),
            capacity_orders.READ_AT_ONCE,
        ),
    ],
    ids=["/v1/orders", "/api/v1/.../capacity/orders"],
)
def test_the_orders_that_are_read_at_once_fit_into_an_answer(largest: BaseModel, at_once: int) -> None:
    assert PAGE_BYTES + at_once * len(to_json(largest)) < MAX_ANSWER_BYTES


def test_a_list_of_large_orders_has_more_pages_and_leaves_none_out(world: World) -> None:
    """100 orders of 390 KB are 39 MB."""
    placed = {world.place(LARGEST_TASK)["id"] for _ in range(100)}

    pages = list(listed(world, "/v1/orders?limit=200"))

    ids = [order["id"] for page in pages for order in page.get_json()["orders"]]
    assert (len(ids), set(ids)) == (100, placed)
    assert max(len(page.get_data()) for page in pages) < MAX_ANSWER_BYTES


def test_a_page_ends_where_the_store_gives_up_and_the_next_continues_there(world: World) -> None:
    placed = world.place()["id"]

    whole = world.ports.store

    class GivesUpOnce(MemoryOrderStore):
        def page(self, query: OrderQuery) -> OrderPage:
            return OrderPage([], "behind") if query.after is None else whole.page(replace(query, after=None))

    world.ports = replace(world.ports, store=GivesUpOnce())

    first = world.get("/v1/orders?limit=10").get_json()
    second = world.get("/v1/orders?limit=10&after=behind").get_json()

    assert first == {"orders": [], "next": "behind"}
    assert [order["id"] for order in second["orders"]] == [placed]


def test_lists_of_the_contract_fit_into_an_answer_and_say_how_many_there_are(world: World) -> None:
    """10,000 accounts, with descriptions of 12 KB, are 120 MB; agents and orders are fewer bytes each."""
    for number in range(3000):
        account = Account(str(number), f"account-{number}", AccountType.CONTRIBUTOR, AWKWARD * 2000, "0" * 64, NOW)
        world.ports.accounts.add(account.name, account)

    listed = world.get("/api/v1/accounts", ADMIN)

    assert len(listed.get_data()) < MAX_ANSWER_BYTES
    assert len(listed.get_json()["accounts"]) < listed.get_json()["total"] == 3000


def listed(world: World, path: str) -> Iterator[TestResponse]:
    """Yield the list's pages."""
    page = world.get(path)
    yield page
    while (after := page.get_json()["next"]) is not None:
        page = world.get(f"{path}&after={after}")
        yield page


def headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {CLIENT}", "Idempotency-Key": str(uuid4())}
