"""A launcher under a control plane that was rolled out before it: nothing that it does not know stops its machines."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from launcher.daemon.heartbeat import HeartbeatLoop
from launcher.host.clock import SYSTEM
from launcher.orders.assignment import Wish
from launcher.orders.reconciliation import Reconciliation
from launcher.orders.reports import Verdict
from shared.domain.order import State
from shared.wire.launchers import HoldView, StopOrder, Stopped
from tests.functions.world import ANY_LANES
from tests.later_answers import with_more_fields, with_more_values
from tests.launcher.conftest import Pieces
from tests.launcher.fake_control_plane import HEARTBEATS, UPDATES

Later = Callable[[Any], Any]


@pytest.fixture(params=[with_more_fields, with_more_values], ids=["more fields", "more values"])
def later(request: pytest.FixtureRequest, pieces: Pieces) -> Later:
    """The control plane of these pieces answers so."""
    told: Later = request.param
    pieces.server.later = told
    return told


def a_heartbeat(pieces: Pieces) -> HeartbeatLoop:
    return HeartbeatLoop(pieces.client, "alpha", pieces.runs, 20, pieces.outage, SYSTEM)


@pytest.mark.usefixtures("later")
def test_its_leases_are_renewed(pieces: Pieces) -> None:
    held = pieces.begin()
    before = held.lease.ends

    a_heartbeat(pieces).beat()

    assert held.lease.ends > before
    assert held.wish is None


@pytest.mark.usefixtures("later")
def test_it_takes_orders_and_its_reports_are_taken(pieces: Pieces) -> None:
    order_id = pieces.server.offer()
    claimed = pieces.claims.next(ANY_LANES)
    assert claimed is not None
    assert claimed.order_id == order_id

    held = pieces.begin()
    stopped = Stopped(request_id="request-1", launcher="alpha", epoch=1)
    assert pieces.runner.reports.send(held, stopped, unless=threading.Event()) is Verdict.TAKEN


@pytest.mark.parametrize(
    ("why", "later", "wish"),
    [
        ("cancelled", with_more_fields, Wish.CANCELLED),
        ("finished", with_more_fields, Wish.FINISHED),
        ("cancelled", with_more_values, Wish.LEASE_LOST),
    ],
)
def test_it_stops_what_it_is_told_to_stop_whatever_for(pieces: Pieces, why: str, later: Later, wish: Wish) -> None:
    """For a reason that it does not know, its machine goes, and nothing is reported."""
    held = pieces.begin()
    pieces.server.later = later
    pieces.server.stops = [StopOrder(order_id=held.hold.order_id, epoch=1, why=why)]

    a_heartbeat(pieces).beat()

    assert held.wish is wish


@pytest.mark.parametrize("bell", [True, False])
def test_an_order_that_it_cannot_read_is_handed_back_and_keeps_no_other_waiting(pieces: Pieces, bell: bool) -> None:
    """It burns no attempt, and is not offered again at once: another launcher may be of its version."""
    later = pieces.server.offer()
    pieces.server.later = with_a_later_spec
    claim = partial(pieces.claims.by_id, later) if bell else partial(pieces.claims.next, ANY_LANES)

    assert claim() is None
    assert [report["failure"] for report in pieces.server.bodies(f"{UPDATES}/{later}")] == ["no_capacity"]

    pieces.server.later = with_more_fields
    order_id = pieces.server.offer()
    claimed = pieces.claims.next(ANY_LANES)
    assert claimed is not None
    assert claimed.order_id == order_id


def with_a_later_spec(document: Any) -> Any:
    if isinstance(document, dict) and isinstance(claimed := document.get("claimed"), dict):
        return {**document, "claimed": {**claimed, "spec": {"kind": "of_a_later_version"}}}
    return document


@pytest.mark.usefixtures("later")
def test_what_it_lost_is_given_up(pieces: Pieces) -> None:
    pieces.server.holds = [HoldView(order_id="lost", epoch=1, state=State.CLAIMED)]

    Reconciliation(pieces.client, "alpha", pieces.runs, pieces.outage, SYSTEM).run(threading.Event())

    assert [body["status"] for body in pieces.server.bodies(f"{UPDATES}/lost")] == ["returned"]
    assert pieces.server.bodies(HEARTBEATS) == []
