"""An order's document holds all of the order."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from google.cloud.firestore_v1 import _helpers
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.adapters.order_document import changes, decode, encode
from functions.domain.events import (
    AnyEvent,
    BootTimeout,
    Cancel,
    Claim,
    Discard,
    EventKind,
    Expire,
    Fail,
    Lapse,
    Provision,
    Release,
    Renew,
    Retry,
    Return,
    Ring,
    RunTimeout,
    Start,
    Stop,
    Succeed,
    TtlPassed,
)
from functions.domain.holder import holder_of
from functions.domain.limits import OrderLimits
from functions.domain.order import Order, Output, place
from functions.domain.refusals import Refusal
from functions.domain.rules import RULES, advance
from shared.domain.order import Reason
from shared.domain.spec import AnySpec, CapacitySpec, ExportSpec, NodeSize, SessionSpec, TaskSpec
from tests.factories import NOW, a_claimed_order, an_order

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
WORD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 (hypothesis wants them naive)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
METRICS = st.dictionaries(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True), NUMBERS, max_size=3)
DURATIONS = st.floats(1, 1e6)
LIMITS = st.none() | st.builds(OrderLimits, DURATIONS, DURATIONS, st.none() | DURATIONS, DURATIONS)
OUTPUTS = st.none() | st.builds(Output, TEXT, TEXT, TEXT, st.integers(0, 5 * 1024**3), TEXT)
SPECS: st.SearchStrategy[AnySpec] = st.one_of(
    st.builds(TaskSpec, command=st.lists(WORD, min_size=1, max_size=3).map(tuple)),
    st.builds(SessionSpec, session_name=st.just("night_shift-1"), prompt=TEXT),
    st.builds(CapacitySpec, datacenter=st.just("local:dev"), node_size=st.sampled_from(NodeSize)),
    st.builds(ExportSpec, pi=st.just("01K9MHPYR07M6YMZ1QGR8DZB8S")),
)


@st.composite
def orders(draw: st.DrawFn) -> Order:
    """Orders of any kind, after some legal events."""
    now = draw(TIMES)
    order = place("an-id", draw(TEXT), draw(SPECS), now, draw(LIMITS), draw(st.none() | TIMES), draw(st.none() | TEXT))
    for _ in range(draw(st.integers(0, 12))):
        if order.final:
            break
        now += timedelta(microseconds=draw(st.integers(0, 10**9)))
        with suppress(Refusal):  # legal in this state, but not yet, or no longer
            order = advance(order, draw(legal_events(order, now)), now)
    return order


def legal_events(order: Order, now: datetime) -> st.SearchStrategy[AnyEvent]:
    """The events that the order's holder or client may cause in its state."""
    by, epoch = st.uuids().map(str), st.just(order.epoch)
    launcher = st.just(order.lease.launcher) if order.lease else TEXT
    until, reason = st.just(now + timedelta(seconds=60)), st.sampled_from(Reason)
    any_event: Mapping[EventKind, st.SearchStrategy[AnyEvent]] = {
        EventKind.RING: st.builds(Ring, by),
        EventKind.CLAIM: st.builds(Claim, by, launcher, until),
        EventKind.RENEW: st.builds(Renew, by, epoch, launcher, until),
        EventKind.PROVISION: st.builds(Provision, by, epoch, launcher, TEXT),
        EventKind.START: st.builds(Start, by, epoch),
        EventKind.SUCCEED: st.builds(Succeed, by, epoch, OUTPUTS, METRICS),
        EventKind.FAIL: st.builds(Fail, by, epoch, reason, TEXT),
        EventKind.RETRY: st.builds(Retry, by, epoch, reason, TEXT),
        EventKind.RETURN: st.builds(Return, by, epoch, launcher, reason, TEXT),
        EventKind.LAPSE: st.builds(Lapse, by, epoch),
        EventKind.BOOT_TIMEOUT: st.builds(BootTimeout, by, epoch),
        EventKind.RUN_TIMEOUT: st.builds(RunTimeout, by, epoch),
        EventKind.TTL_PASSED: st.builds(TtlPassed, by, epoch),
        EventKind.CANCEL: st.builds(Cancel, by),
        EventKind.STOP: st.builds(Stop, by, epoch, launcher),
        EventKind.RELEASE: st.builds(Release, by, epoch, launcher),
        EventKind.EXPIRE: st.builds(Expire, by),
        EventKind.DISCARD: st.builds(Discard, by),
    }
    return st.one_of(*(event for kind, event in any_event.items() if (order.state, kind) in RULES))


@settings(deadline=None, derandomize=True, database=None)
@given(orders())
def test_an_order_comes_back_as_it_was(order: Order) -> None:
    assert decode(_through_firestore(encode(order))) == order


@settings(deadline=None, derandomize=True, database=None)
@given(orders())
def test_a_decoded_order_has_the_original_types(order: Order) -> None:
    back = decode(_through_firestore(encode(order)))

    assert _types(back) == _types(order)


@settings(deadline=None, derandomize=True, database=None)
@given(orders(), st.data())
def test_the_changes_lead_from_one_order_to_the_next(order: Order, data: st.DataObject) -> None:
    after = data.draw(orders().map(lambda other: replace(other, id=order.id)))

    differences = changes(order, after)

    assert encode(order) | differences == encode(after)
    assert changes(order, order) == {}


def test_a_document_of_a_later_version_is_still_read() -> None:
    order = an_order()

    assert decode({**encode(order), "priority": 7}) == order


def test_an_earlier_version_knows_a_launcher_with_an_identity_by_its_name() -> None:
    order = a_claimed_order(launcher=holder_of("rack", "alpha", "an-identity"))
    document = encode(order)
    assert order.lease is not None
    rewritten = {name: part for name, part in document["lease"].items() if name != "identity"}

    assert document["lease"]["launcher"] == "rack/alpha"
    assert decode(document) == order
    assert decode(document | {"lease": rewritten}).lease == replace(order.lease, launcher="rack/alpha")


def test_a_document_of_an_earlier_version_gets_the_defaults() -> None:
    order = an_order(now=NOW)
    document = {name: value for name, value in encode(order).items() if name != "metrics"}

    assert decode(document) == order


def _through_firestore(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document as the client library would read it back: from its wire form, with types of its own."""
    back = _helpers.decode_dict(_helpers.encode_dict(document), client=None)
    assert isinstance(back, dict)
    return back


def _types(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _types(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [_types(part) for part in value]
    if isinstance(value, Order):
        return type(value), _types(encode(value))
    return type(value)
