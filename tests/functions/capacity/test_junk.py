"""Whatever a route of the capacity contract is sent, it answers in the contract's style, and never with a 5xx."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.authentication import Open
from functions.routes import ROUTES_OF
from functions.routing import Route
from shared.domain.access import digest
from shared.domain.accounts import AccountType
from tests.functions.capacity.accounts import enrol
from tests.functions.world import ADMIN, CLIENT, LAUNCHER, PASSWORD, World

FEW_AND_MANY: Final = [25, pytest.param(100, marks=pytest.mark.slow)]
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
    """Return objects with some of the members that the route knows, those that it needs as a rule, and unknown ones."""
    model = route.body.json_schema() if route.body else route.query.model_json_schema() if route.query else {}
    value = st.sampled_from([*WORDS, PASSWORD]) | (VALUES if route.body else TEXT)
    known = dict.fromkeys((*model.get("properties", {}), "unknown"), value)
    needed = {name: known.pop(name) for name in model.get("required", ())}
    return st.fixed_dictionaries(needed, optional=known) | st.fixed_dictionaries({}, optional={**needed, **known})


@dataclass(frozen=True)
class Known:
    """What there is: ids, keys that open the route, and other keys."""

    ids: list[str]
    fitting: list[str]
    others: list[str]


@st.composite
def requests(draw: st.DrawFn, route: Route, known: Known) -> dict[str, Any]:
    """Return a request for the route, as the test client takes it."""
    path = re.sub(r"{\w+}", lambda _: _segment(draw(mostly(known.ids, ODD))), route.path)
    query = f"?{urlencode(draw(members(route)))}" if route.query else ""
    return {
        "path": path + query,
        "method": route.method,
        "headers": _header(draw(mostly(known.fitting, known.others))),
        "data": draw(st.sampled_from([members(route), VALUES, RAW, members(route)]).flatmap(_encoded)),
    }


def mostly(usual: list[str], odd: list[str]) -> st.SearchStrategy[str]:
    return st.sampled_from([usual, odd, usual]).flatmap(st.sampled_from)


def _encoded(body: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return body.map(lambda value: value if isinstance(value, bytes) else json.dumps(value).encode())


def _segment(text: str) -> str:
    """Return the text as a path can say it; one with a line break is the framework's to refuse, before it asks us."""
    return quote(text.replace("\n", "?"), safe="")


def _header(key: str) -> dict[str, str]:
    """Return the header; no client can send a line break in one, or what is not of Latin-1."""
    sent = re.sub(r"[^\t\x20-\x7e\xa0-\xff]", "?", key)
    return {"Authorization": f"Bearer {sent}"} if key else {}


@pytest.mark.parametrize("route", ROUTES_OF["capacity"], ids=lambda route: f"{route.method} {route.path}")
@pytest.mark.parametrize("examples", FEW_AND_MANY)
def test_junk_is_answered_in_the_contracts_style_and_is_nobodys_fault(
    world: World, route: Route, examples: int
) -> None:
    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(data=st.data())
    def answers(data: st.DataObject) -> None:
        response = world.http.open(**data.draw(requests(route, _known(world, route))))

        assert response.status_code == 200 or 400 <= response.status_code < 500, response.text
        assert response.content_type == "application/json"
        assert isinstance(response.get_json(), dict)
        if response.status_code != 200:
            assert list(response.get_json()) == ["detail"]

    answers()


def _known(world: World, route: Route) -> Known:
    accounts = [world.admit(account_type) for account_type in AccountType]
    session = world.post("/admin/login", {"password": PASSWORD}, "").get_json()["token"]
    keys = [ADMIN, CLIENT, LAUNCHER, *(key for _, key in accounts)]
    return Known(
        ids=[*(account_id for account_id, _ in accounts), world.place()["id"]],
        fitting=[key for key in keys if _opens(key, route, world)],
        others=[session, *keys, enrol(world), *ODD],
    )


def _opens(key: str, route: Route, world: World) -> bool:
    if isinstance(route.access, Open):
        return key == ADMIN
    found = world.app.keys.find(digest(key))
    return found is not None and found.role in route.access
