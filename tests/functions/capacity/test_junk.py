"""Whatever a route of the capacity contract is sent, it answers in the contract's style, and never with a 5xx."""

import re
from typing import Any, Final
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.routes import ROUTES_OF
from functions.routing import Route
from shared.domain.accounts import AccountType
from tests.functions.capacity.accounts import enrol
from tests.functions.world import ADMIN, CLIENT, LAUNCHER, PASSWORD, World

EXAMPLES: Final = 100
"""Requests a route."""
WORDS: Final = [*AccountType, "gcp:us-central1-a", "tiny", "provisioning", "fulfilled", "2026-02-17T01:02:03Z"]
ODD: Final = ["", " ", "\x00", "a\nb", "é", "🚀", "\u200b", "%", "/", "..", "null", "1e999", "x" * 5000]

TEXT: Final = st.sampled_from([*WORDS, *ODD]) | st.text(max_size=20)
NUMBERS: Final = st.integers(-(2**70), 2**70) | st.floats() | st.integers(-1, 3)
SCALARS: Final = st.none() | st.booleans() | NUMBERS | TEXT
VALUES: Final = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
RAW: Final = st.sampled_from([b"", b"{", b"\xff", b"null", b'"\\ud800"', b"[" * 50_000, b'{"a":' * 9_000]) | st.binary()


def members(route: Route) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects with some of the members that the route knows, and some that it does not."""
    model = route.body.json_schema() if route.body else route.query.model_json_schema() if route.query else {}
    known = st.sampled_from([*model.get("properties", {}), "unknown"])
    return st.dictionaries(known, TEXT | VALUES if route.body else TEXT, max_size=8)


@st.composite
def requests(draw: st.DrawFn, route: Route, ids: list[str], keys: list[str]) -> dict[str, Any]:
    """Return a request for the route, as the test client takes it."""
    path = re.sub(r"{\w+}", lambda _: _segment(draw(st.sampled_from(ids) | TEXT)), route.path)
    sent: dict[str, Any] = {
        "path": path,
        "method": route.method,
        "headers": _header(draw(st.sampled_from(keys) | TEXT)),
    }
    if route.query:
        sent["path"] += "?" + urlencode(draw(members(route)))
    elif draw(st.integers(0, 3)):
        sent["json"] = draw(members(route) | VALUES)
    else:
        sent["data"] = draw(RAW)
    return sent


def _segment(text: str) -> str:
    """Return the text as a path can say it; one with a line break is the framework's to refuse, before it asks us."""
    return quote(text.replace("\n", "?"), safe="")


def _header(key: str) -> dict[str, str]:
    """Return the header; no client can send a line break in one, or what is not of Latin-1."""
    sent = re.sub(r"[^\t\x20-\x7e\xa0-\xff]", "?", key)
    return {"Authorization": f"Bearer {sent}"} if key else {}


@pytest.mark.parametrize("route", ROUTES_OF["capacity"], ids=lambda route: f"{route.method} {route.path}")
@settings(
    max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(data=st.data())
def test_junk_is_answered_in_the_contracts_style_and_is_nobodys_fault(
    world: World, route: Route, data: st.DataObject
) -> None:
    ids, keys = _known(world)

    response = world.http.open(**data.draw(requests(route, ids, keys)))

    assert response.status_code == 200 or 400 <= response.status_code < 500, response.text
    assert response.content_type == "application/json"
    assert isinstance(response.get_json(), dict)
    if response.status_code != 200:
        assert list(response.get_json()) == ["detail"]


def _known(world: World) -> tuple[list[str], list[str]]:
    """Return ids of what there is, and keys that open something."""
    accounts = [world.admit(account_type) for account_type in AccountType]
    session = world.post("/admin/login", {"password": PASSWORD}, "").get_json()["token"]
    order = world.place()["id"]
    keys = [ADMIN, ADMIN, CLIENT, LAUNCHER, session, enrol(world), *(key for _, key in accounts), ""]
    return [order, *(account_id for account_id, _ in accounts)], keys
