"""The heartbeat's loop: one request for everything, obeyed; and what happens when it is not answered."""

import threading
from datetime import timedelta

import pytest
import structlog.testing

from launcher.daemon.heartbeat import HeartbeatLoop
from launcher.host.clock import SYSTEM, Clock
from launcher.orders.outage import Outage
from shared.wire.launchers import HeartbeatAnswer, HeartbeatRequest, StopOrder
from tests.launcher.conftest import Pieces, a_held
from tests.launcher.fake_control_plane import DEADLINE, HEARTBEATS
from tests.launcher.stand_ins import ManualClock


def a_heartbeat(pieces: Pieces) -> HeartbeatLoop:
    return HeartbeatLoop(pieces.client, "alpha", pieces.runs, 20, pieces.outage, SYSTEM)


def test_one_request_renews_every_lease(pieces: Pieces) -> None:
    held = [pieces.begin(), pieces.begin()]
    pieces.server.lease = timedelta(minutes=10)

    assert a_heartbeat(pieces).beat() == 20

    (body,) = pieces.server.bodies(HEARTBEATS)
    assert body["launcher"] == "alpha"
    assert [hold["order_id"] for hold in body["holds"]] == [one.hold.order_id for one in held]
    assert all(one.lease_left() > 490 for one in held)


@pytest.mark.parametrize(("status", "code"), [(503, "unavailable"), (401, "unauthenticated")])
def test_a_launcher_that_holds_nothing_finds_out_that_it_is_not_served(pieces: Pieces, status: int, code: str) -> None:
    pieces.server.refuse(HEARTBEATS, status, code)

    with structlog.testing.capture_logs() as logs:
        assert a_heartbeat(pieces).beat() < 20

    assert [line["event"] for line in logs] == ["the control plane does not serve this launcher"]
    assert [body["holds"] for body in pieces.server.bodies(HEARTBEATS)] == [[]]


def test_a_machine_that_its_client_wishes_gone_is_stopped_and_then_reported(pieces: Pieces) -> None:
    held, kept = pieces.begin(), pieces.begin()
    pieces.server.stops = [StopOrder(order_id=held.hold.order_id, epoch=1, why="cancelled")]

    a_heartbeat(pieces).beat()

    pieces.server.wait_for(lambda: pieces.server.statuses(held.hold.order_id) == ["provisioning", "stopped"])
    pieces.await_room(1)
    assert pieces.runs.held() == (kept,)


@pytest.mark.parametrize("why", ["finished", "lease_lost"])
def test_a_machine_whose_order_has_ended_or_is_lost_is_stopped_and_nothing_is_said(pieces: Pieces, why: str) -> None:
    held = pieces.begin()
    pieces.server.stops = [StopOrder.model_validate({"order_id": held.hold.order_id, "epoch": 1, "why": why})]

    a_heartbeat(pieces).beat()

    pieces.runs.await_end()
    assert pieces.server.statuses(held.hold.order_id) == ["provisioning"]


def test_a_renewed_lease_is_counted_from_before_it_was_asked_for(
    pieces: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = [0.0]
    clock = Clock(lambda: passed[0], lambda: 0.0, SYSTEM.pause)
    held = a_held(pieces.server.a_claimed(), clock)
    send = pieces.client.heartbeat

    def slowly(request: HeartbeatRequest) -> HeartbeatAnswer:
        passed[0] += 30
        return send(request)

    monkeypatch.setattr(pieces.client, "heartbeat", slowly)
    monkeypatch.setattr(pieces.runs, "held", lambda: (held,))
    monkeypatch.setattr(pieces.runs, "find", lambda _hold: held)
    before = held.lease_left()

    HeartbeatLoop(pieces.client, "alpha", pieces.runs, 20, pieces.outage, clock).beat()

    assert held.lease_left() == before - 30
    held.close()


def test_a_short_lease_is_renewed_when_a_third_of_it_is_over(pieces: Pieces) -> None:
    held = pieces.begin()
    held.renew(SYSTEM.monotonic(), 45)
    pieces.server.lease = timedelta(seconds=45)

    assert a_heartbeat(pieces).beat() == 15


def test_an_order_with_a_short_lease_that_comes_between_two_heartbeats_is_renewed_in_time(pieces: Pieces) -> None:
    pieces.server.lease = timedelta(seconds=15)
    over, waiting = threading.Event(), threading.Event()

    def pause(seconds: float, interrupt: threading.Event) -> None:
        waiting.set()
        SYSTEM.pause(seconds, interrupt)

    clock = Clock(SYSTEM.monotonic, SYSTEM.jitter, pause)
    heartbeat = HeartbeatLoop(pieces.client, "alpha", pieces.runs, 60, pieces.outage, clock)
    beating = threading.Thread(target=heartbeat.run, args=(over,), daemon=True)
    beating.start()
    assert waiting.wait(DEADLINE)  # for the next, which is due in a minute

    held = pieces.begin()
    given = held.lease.ends
    pieces.server.wait_for(lambda: renewals(pieces) >= 2)

    assert held.wish is None
    assert held.lease.ends > given
    over.set()
    pieces.runs.news.set()
    beating.join()


def test_an_order_that_the_answer_leaves_out_keeps_its_lease(pieces: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    held = pieces.begin()
    lease = held.lease
    monkeypatch.setattr(pieces.client, "heartbeat", lambda _request: HeartbeatAnswer(renewed=(), stop=()))

    a_heartbeat(pieces).beat()

    assert (held.lease, held.wish) == (lease, None)


def test_a_stop_of_another_epoch_stops_nothing(pieces: Pieces) -> None:
    held = pieces.begin()
    pieces.server.stops = [StopOrder(order_id=held.hold.order_id, epoch=2, why="cancelled")]

    a_heartbeat(pieces).beat()

    assert held.wish is None


def test_a_heartbeat_that_is_not_answered_is_repeated_and_told_of_once_a_minute(pieces: Pieces) -> None:
    pieces.begin()
    pieces.server.refuse(HEARTBEATS, 503)
    over = threading.Event()
    clock = ManualClock(most=9, over=over)
    outage = Outage(clock.clock().monotonic)

    with structlog.testing.capture_logs() as logs:
        HeartbeatLoop(pieces.client, "alpha", pieces.runs, 20, outage, clock.clock()).run(over)

    assert clock.pauses == [1, 2, 4, 8, 16, 20, 20, 20, 20]
    assert [line["failed_tries"] for line in logs if line["log_level"] == "warning"] == [1, 8]


def test_the_end_of_an_outage_is_told(pieces: Pieces) -> None:
    pieces.begin()
    heartbeat = a_heartbeat(pieces)
    pieces.server.refuse(HEARTBEATS, 503)
    heartbeat.beat()
    pieces.server.serve(HEARTBEATS)

    with structlog.testing.capture_logs() as logs:
        heartbeat.beat()

    assert [line["event"] for line in logs] == ["the control plane serves this launcher again"]


def renewals(pieces: Pieces) -> int:
    """Return how many heartbeats named an order."""
    return sum(bool(body["holds"]) for body in pieces.server.bodies(HEARTBEATS))
