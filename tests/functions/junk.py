"""Requests that follow a route's schema, except for some texts, members and credentials; and bodies without JSON."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cache
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote, urlencode
from uuid import uuid4

from hypothesis import strategies as st
from pydantic import TypeAdapter

from functions.adapters.memory_records import MemoryRecords
from functions.apis.capacity import agents
from functions.apis.capacity.agents import HeartbeatRequest, RegisterRequest
from functions.domain.access import digest
from functions.domain.accounts import AccountType
from functions.engine.operator_sessions import ALL, Sessions
from functions.http.authentication import Open
from functions.http.parsing import KEY_HEADER
from functions.http.routing import Route
from tests.factories import CAPACITY, TASK
from tests.functions.capacity.accounts import enrol
from tests.functions.world import ADMIN, CLIENT, LAUNCHER, PASSWORD, SECRET, World

T = TypeVar("T")

EVIDENCE: Final[Mapping[object, TypeAdapter[Any]]] = {
    agents.register: TypeAdapter(RegisterRequest),
    agents.send_heartbeat: TypeAdapter(HeartbeatRequest),
}
"""What is read of bodies that their routes take as they come."""
LONG: Final = ["x" * 1491, "x" * 5000, "é" * 1000, "🚀" * 150, "🚀" * 4000]
ODD: Final = [
    "",
    " ",
    ".",
    "..",
    "/",
    "a/b",
    "__x__",
    "\x00",
    "a\nb",
    "a,b",
    "é",
    "\u200b",
    "%",
    "null",
    "1e999",
    *LONG,
]
TEXT: Final = st.sampled_from(ODD) | st.text(max_size=20)
WORDS: Final = ["gcp:us-central1-a", "tiny", "provisioning", "fulfilled", "launcher", PASSWORD, "2026-11-23T01:02:03Z"]
NUMBERS: Final = st.integers(-(2**70), 2**70) | st.floats() | st.integers(-1, 3)
VALUES: Final = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
RAW: Final = st.sampled_from([b"", b"{", b"\xff", b"null", b'"\\ud800"', b"[" * 50_000, b'{"a":' * 9_000]) | st.binary()


@dataclass(frozen=True)
class Known:
    """Existing ids, keys that may call the route, and other keys."""

    ids: list[str]
    fitting: list[str]
    others: list[str]


class Untouched(Generic[T]):
    """What a test's requests are about. It is made again after a request that may have changed it."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make, self._made = make, list[T]()

    def get(self) -> T:
        if not self._made:
            self._made.append(self._make())
        return self._made[0]

    def note(self, method: str, status: int) -> None:
        if method != "GET" and status < 400:
            self._made.clear()


def known(world: World, route: Route) -> Known:
    accounts = [world.admit(account_type) for account_type in AccountType]
    placed = [world.place(spec)["id"] for spec in (TASK, CAPACITY)]
    session = session_of(world.clock.now.date())
    for ended in (digest(session), ALL):
        world.ports.session_ends.take(ended)  # an earlier request may have ended it
    tokens = [world.ports.tokens.issue(order_id, 1) for order_id in placed]
    keys = [ADMIN, CLIENT, LAUNCHER, *(key for _, key in accounts)]
    return Known(
        ids=[*(account_id for account_id, _ in accounts), *placed],
        fitting=tokens if route.access is Open.WORKER else [key for key in keys if _opens(key, route, world)],
        others=[session, *tokens, *keys, enrol(world), *ODD],
    )


@cache
def session_of(day: date) -> str:
    """Log in, once a day of the clock: that takes a slow hash, and the control plane of each test takes the token."""
    sessions = Sessions(SECRET, PASSWORD, ends=MemoryRecords(), clock=lambda: datetime.combine(day, time(), tzinfo=UTC))
    return sessions.open(PASSWORD)[0]


@st.composite
def requests(draw: st.DrawFn, route: Route, known: Known) -> dict[str, Any]:
    """Return a request for the route, as the test client takes it."""
    path = re.sub(r"{\w+}", lambda _: quote(draw(mostly(known.ids, ODD)), safe=""), route.path)
    headers = {"Authorization": f"Bearer {_printable(draw(mostly(known.fitting, known.others)))}"}
    if route.signature.keyed:
        headers[KEY_HEADER] = _printable(draw(st.just(str(uuid4())) | TEXT))
    return {
        "path": path + (f"?{urlencode(draw(queries(route)))}" if route.signature.query else ""),
        "method": route.method,
        "headers": headers,
        "data": draw(bodies(route)),
    }


@cache
def bodies(route: Route) -> st.SearchStrategy[bytes]:
    body = EVIDENCE.get(route.handler, route.signature.body)
    if body is None:
        return RAW
    fitting = value(body.json_schema(), {}).map(_encoded)
    return st.sampled_from([fitting, fitting, fitting, VALUES.map(_encoded), RAW]).flatmap(lambda drawn: drawn)


@cache
def queries(route: Route) -> st.SearchStrategy[dict[str, str]]:
    """Return parameters of a query. Those that are not texts mostly follow the schema."""
    assert route.signature.query is not None
    drawn = value(route.signature.query.model_json_schema(), {})
    return drawn.map(lambda pairs: {name: str(one) for name, one in pairs.items() if one is not None})


def value(schema: dict[str, Any], definitions: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return values that keep to the schema; texts, as likely as not, only in that they are texts."""
    definitions = definitions | schema.get("$defs", {})
    if "$ref" in schema:
        return value(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return st.one_of([value(choice, definitions) for choice in choices])
    if fixed := schema.get("enum") or ([schema["const"]] if "const" in schema else []):
        return st.sampled_from([*fixed * 5, "another"])
    match schema.get("type"):
        case "object":
            return _object(schema, definitions)
        case "array":
            most = min(schema.get("maxItems", 3), 3)
            return st.lists(value(schema["items"], definitions), min_size=schema.get("minItems", 0), max_size=most)
        case "string":
            return st.one_of(st.sampled_from(WORDS), _string(schema), TEXT)
        case "integer":
            return st.integers(schema.get("minimum", -1), schema.get("maximum", 5)) | NUMBERS
        case "number":
            return st.floats(schema.get("exclusiveMinimum", 0.0), schema.get("maximum", 9.0), exclude_min=True)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case _:
            return VALUES


def _object(schema: dict[str, Any], definitions: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    known = {name: value(part, definitions) for name, part in schema.get("properties", {}).items()}
    needed = {name: known.pop(name) for name in schema.get("required", ())}
    if not known and isinstance(more := schema.get("additionalProperties"), dict):
        return st.dictionaries(TEXT | st.sampled_from(WORDS), value(more, definitions), max_size=3)
    usual = st.fixed_dictionaries(needed, optional=known)
    return usual | usual | usual | st.fixed_dictionaries({}, optional={**needed, **known, "unknown": VALUES})


def _string(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    if schema.get("format") != "date-time" and "pattern" in schema and r"\P" not in schema["pattern"]:
        return st.from_regex(re.compile(schema["pattern"], re.ASCII), fullmatch=True)
    return st.text(min_size=schema.get("minLength", 0), max_size=min(schema.get("maxLength", 20), 20))


def mostly(usual: list[str], odd: list[str]) -> st.SearchStrategy[str]:
    return st.sampled_from([usual, odd, usual]).flatmap(st.sampled_from)


def _encoded(body: object) -> bytes:
    return json.dumps(body).encode()


def _printable(text: str) -> str:
    """Return the text as a header can say it: no client can send a line break, or what is not of Latin-1."""
    return re.sub(r"[^\t\x20-\x7e\xa0-\xff]", "?", text)[:4000]


def _opens(key: str, route: Route, world: World) -> bool:
    if isinstance(route.access, Open):
        return key == ADMIN
    found = world.ports.keys.find(digest(key))
    return found is not None and found.role in route.access
