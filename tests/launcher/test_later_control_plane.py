"""A launcher under a later control plane: nothing that it does not know stops its machines."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from launcher.daemon.heartbeat import HeartbeatLoop
from launcher.host.clock import SYSTEM
from launcher.orders.assignment import StopReason
from launcher.orders.reconciliation import Reconciliation
from launcher.orders.reports import Delivery
from shared.domain.order import State
from shared.wire.launchers import HoldView, StopOrder, Stopped
from tests.functions.world import ANY_LANES
from tests.later_answers import with_more_fields, with_more_values
from tests.launcher.conftest import InProcessLauncher
from tests.launcher.fake_control_plane import HEARTBEATS, UPDATES

Later = Callable[[Any], Any]


@pytest.fixture(params=[with_more_fields, with_more_values], ids=["more fields", "more values"])
def later(request: pytest.FixtureRequest, launcher: InProcessLauncher) -> Later:
    """The control plane of these pieces answers so."""
    actual: Later = request.param
    launcher.server.later = actual
    return actual


def a_heartbeat(launcher: InProcessLauncher) -> HeartbeatLoop:
    return HeartbeatLoop(launcher.client, "alpha", launcher.assignments, 20, launcher.outage, SYSTEM)


@pytest.mark.usefixtures("later")
def test_its_leases_are_renewed(launcher: InProcessLauncher) -> None:
    assignment = launcher.begin()
    before = assignment.lease.ends

    a_heartbeat(launcher).beat()

    assert assignment.lease.ends > before
    assert assignment.stop_reason is None


@pytest.mark.usefixtures("later")
def test_it_takes_orders_and_its_reports_are_taken(launcher: InProcessLauncher) -> None:
    order_id = launcher.server.offer()
    claimed = launcher.claims.next(ANY_LANES)
    assert claimed is not None
    assert claimed.order_id == order_id

    assignment = launcher.begin()
    stopped = Stopped(request_id="request-1", launcher="alpha", epoch=1)
    assert launcher.runner.reports.send(assignment, stopped, unless=threading.Event()) is Delivery.ACCEPTED


@pytest.mark.parametrize(
    ("why", "later", "stop_reason"),
    [
        ("cancelled", with_more_fields, StopReason.CANCELLED),
        ("finished", with_more_fields, StopReason.FINISHED),
        ("cancelled", with_more_values, StopReason.LEASE_LOST),
    ],
)
def test_it_stops_an_order_for_every_reason(
    launcher: InProcessLauncher, why: str, later: Later, stop_reason: StopReason
) -> None:
    """For a reason that it does not know, its machine goes, and nothing is reported."""
    assignment = launcher.begin()
    launcher.server.later = later
    launcher.server.stops = [StopOrder(order_id=assignment.hold.order_id, epoch=1, why=why)]

    a_heartbeat(launcher).beat()

    assert assignment.stop_reason is stop_reason


@pytest.mark.parametrize("bell", [True, False])
def test_an_order_that_it_cannot_read_is_returned_and_delays_no_other(launcher: InProcessLauncher, bell: bool) -> None:
    """It uses no attempt, and is not offered again at once: another launcher may be of its version."""
    later = launcher.server.offer()
    launcher.server.later = with_a_later_spec
    claim = partial(launcher.claims.by_id, later) if bell else partial(launcher.claims.next, ANY_LANES)

    assert claim() is None
    assert [report["failure"] for report in launcher.server.bodies(f"{UPDATES}/{later}")] == ["no_capacity"]

    launcher.server.later = with_more_fields
    order_id = launcher.server.offer()
    claimed = launcher.claims.next(ANY_LANES)
    assert claimed is not None
    assert claimed.order_id == order_id


def with_a_later_spec(document: Any) -> Any:
    if isinstance(document, dict) and isinstance(claimed := document.get("claimed"), dict):
        return {**document, "claimed": {**claimed, "spec": {"kind": "of_a_later_version"}}}
    return document


@pytest.mark.usefixtures("later")
def test_an_order_without_a_record_is_given_up(launcher: InProcessLauncher) -> None:
    launcher.server.holds = [HoldView(order_id="lost", epoch=1, state=State.CLAIMED)]

    Reconciliation(launcher.client, "alpha", launcher.assignments, launcher.outage, SYSTEM).run(threading.Event())

    assert [body["status"] for body in launcher.server.bodies(f"{UPDATES}/lost")] == ["returned"]
    assert launcher.server.bodies(HEARTBEATS) == []
