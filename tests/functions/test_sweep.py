"""The sweep handles orders whose time has come."""

from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from functions.domain.limits import DEFAULT_LIMITS
from functions.domain.order import LAPSE_MARGIN
from functions.domain.refusals import Unavailable
from functions.engine.sweep import TIME_BUDGET
from functions.ports.orders import KEY_TTL
from shared.domain.order import LEASE, State
from shared.log_events import LogEvent
from shared.wire.bell import Bell
from tests.functions.world import ADMIN, CLIENT, World
from tests.meanwhile import Failing, Hanging, Meanwhile


def test_an_order_whose_bell_was_not_recorded_is_rung_for_once(world: World) -> None:
    world.bells.broken = True
    order_id = world.place()["id"]
    world.bells.broken = False
    world.bells.asked.clear()
    world.clock.now += timedelta(seconds=10)

    first, second = world.sweep(), world.sweep()

    assert (first["rung"], second["rung"]) == (1, 0)
    assert world.bells.rung == [order_id]


def test_an_order_that_still_waits_is_rung_for_again_ever_more_seldom(world: World) -> None:
    order_id = world.place()["id"]
    rung_after = []
    for minute in range(1, 10):
        world.clock.now += timedelta(seconds=60)
        if world.sweep()["rung"]:
            rung_after.append(minute)

    assert rung_after == [1, 2, 4, 8]
    assert world.bells.rung == [order_id] * 5


def test_an_order_whose_launcher_stopped_its_heartbeats_is_queued_again(world: World) -> None:
    order_id = world.place()["id"]
    world.claim(order_id)
    world.clock.now += LEASE + LAPSE_MARGIN

    answer = world.sweep()

    nothing_else = {"rung": 0, "ended": 0, "discarded": 0, "keys_forgotten": 0, "more": False}
    nothing_else |= {"pools": 0, "created": 0, "released": 0, "records_forgotten": 0}
    assert answer == {"looked_at": 1, "requeued": 1} | nothing_else
    assert world.order(order_id).state is State.QUEUED


def test_an_order_that_used_up_its_attempts_ends(world: World) -> None:
    order_id = world.place()["id"]
    for epoch in (1, 2):
        world.claim(order_id)
        world.update(order_id, "provisioning", epoch, vm="vm-1")
        world.lapse(order_id)
    world.claim(order_id)
    world.update(order_id, "provisioning", 3, vm="vm-1")
    world.clock.now += LEASE + LAPSE_MARGIN

    assert world.sweep()["ended"] == 1
    view = world.view(order_id)
    assert (view["state"], view["reason"]) == ("failed", "retries_exhausted")


def test_an_order_that_no_launcher_took_expires(world: World) -> None:
    order_id = world.place()["id"]
    world.clock.now += DEFAULT_LIMITS.queue

    assert world.sweep()["ended"] == 1
    assert world.order(order_id).state is State.EXPIRED


def test_a_sweep_goes_on_until_nothing_is_due(world: World) -> None:
    held = [world.place()["id"] for _ in range(5)]
    for order_id in held:
        world.claim(order_id)
    world.clock.now += LEASE + LAPSE_MARGIN

    answer = world.sweep(limit=2)

    assert (answer["requeued"], answer["more"]) == (5, False)


def test_a_sweep_ends_when_its_time_is_over_and_says_that_there_is_more(world: World, meanwhile: Meanwhile) -> None:
    for _ in range(3):
        world.claim(world.place()["id"])
    world.clock.now += LEASE + LAPSE_MARGIN

    def let_the_time_pass() -> None:
        world.clock.now += TIME_BUDGET

    meanwhile(world.ports.store, "apply", let_the_time_pass, after=True)
    first, second = world.sweep(limit=2), world.sweep(limit=2)

    assert (first["requeued"], first["more"]) == (2, True)
    assert (second["requeued"], second["more"]) == (1, False)


def test_a_sweep_forgets_all_keys_that_are_old(world: World) -> None:
    for _ in range(5):
        world.place()
    world.clock.now += KEY_TTL + timedelta(seconds=1)

    answer = world.sweep(limit=2)

    assert (answer["keys_forgotten"], answer["more"]) == (5, False)


def test_orders_that_the_store_does_not_answer_for_delay_no_others(
    world: World, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, other = [world.place()["id"] for _ in range(2)]
    for order_id in (stuck, other):
        world.claim(order_id)
    waiting = world.place()["id"]
    world.clock.now += LEASE + LAPSE_MARGIN
    world.bells.asked.clear()
    hanging(world.ports.store, "apply", only=stuck)
    monkeypatch.setattr("functions.engine.sweep.TIME_BUDGET", timedelta(seconds=5))

    answer = world.sweep()

    assert (answer["looked_at"], answer["requeued"], answer["rung"], answer["more"]) == (2, 1, 1, True)
    assert world.bells.rung == [waiting]


def test_a_broken_doorbell_is_tried_once_and_keeps_nothing_else_waiting(world: World) -> None:
    waiting = [world.place()["id"] for _ in range(3)]
    held = world.place()["id"]
    world.claim(held)
    world.clock.now += LEASE + LAPSE_MARGIN
    world.bells.broken = True
    world.bells.asked.clear()

    answer = world.sweep()

    assert (answer["looked_at"], answer["rung"], answer["requeued"], answer["ended"]) == (4, 0, 1, 0)
    assert len(world.bells.asked) == 1
    world.bells.broken = False
    assert world.sweep()["rung"] == len(waiting)


def test_lapsed_leases_do_not_wait_behind_bells_that_cannot_be_rung(world: World) -> None:
    for _ in range(5):
        world.place()
    held = world.place()["id"]
    world.claim(held)
    world.clock.now += LEASE + LAPSE_MARGIN
    world.bells.broken = True

    assert world.sweep(limit=2)["requeued"] == 1
    assert world.order(held).state is State.QUEUED


def test_another_sweep_that_is_faster_does_no_harm(world: World, meanwhile: Meanwhile) -> None:
    order_id = world.place()["id"]
    world.claim(order_id)
    world.update(order_id, "provisioning", vm="vm-1")
    world.clock.now += LEASE + LAPSE_MARGIN
    meanwhile(world.ports.store, "due", world.sweep, after=True)

    assert world.sweep()["requeued"] == 0
    order = world.order(order_id)
    assert (order.state, order.attempt) == (State.QUEUED, 1)


def test_a_heartbeat_that_is_faster_keeps_its_lease(world: World, meanwhile: Meanwhile) -> None:
    order_id = world.place()["id"]
    world.claim(order_id)
    world.clock.now += LEASE + LAPSE_MARGIN
    meanwhile(world.ports.store, "due", lambda: world.heartbeat((order_id, 1)), after=True)

    assert world.sweep()["requeued"] == 0
    assert world.order(order_id).state is State.CLAIMED


def test_a_launcher_that_receives_the_bell_before_it_is_recorded_keeps_its_claim(
    world: World, meanwhile: Meanwhile
) -> None:
    order_id = world.place()["id"]
    world.clock.now += timedelta(seconds=60)
    meanwhile(world.bells, "ring", lambda: world.claim(order_id), after=True)

    assert world.sweep()["rung"] == 0
    assert world.order(order_id).state is State.CLAIMED


@pytest.mark.parametrize("error", [Unavailable("The order keeps changing."), RuntimeError("nobody thought of this")])
def test_one_order_that_cannot_be_changed_does_not_stop_the_sweep(
    world: World, failing: Failing, error: Exception
) -> None:
    stuck, other = [world.place()["id"] for _ in range(2)]
    for order_id in (stuck, other):
        world.claim(order_id)
    world.clock.now += LEASE + LAPSE_MARGIN
    failing(world.ports.store, "apply", error, only=stuck)

    assert world.sweep()["requeued"] == 1
    assert world.order(other).state is State.QUEUED


def test_a_bell_carries_the_lane_that_launchers_choose_by(world: World) -> None:
    order_id = world.place()["id"]
    world.clock.now += timedelta(seconds=60)
    world.sweep()

    assert world.bells.asked == [Bell(order_id, "any/task")] * 2


def test_only_an_admin_sweeps(world: World) -> None:
    assert world.post("/v1/sweeps", {}, CLIENT).status_code == 403


def done(world: World) -> dict[str, object]:
    """Sweep, and return the one line that says so, without its sentence."""
    with capture_logs() as lines:
        world.sweep()
    (line,) = [line for line in lines if line["event"] == LogEvent.SWEEP_DONE]
    return {name: value for name, value in line.items() if name not in ("event", "message", "log_level")}


def test_each_sweep_logs_its_counts_and_how_long_the_oldest_order_waits(world: World) -> None:
    none = {"looked_at": 0, "rung": 0, "requeued": 0, "ended": 0, "discarded": 0, "more": False}
    assert done(world) == none | {"oldest_queued_seconds": 0}

    held, waiting = world.place()["id"], world.place()["id"]
    world.claim(held)
    world.clock.now += LEASE + LAPSE_MARGIN
    waited = round((LEASE + LAPSE_MARGIN).total_seconds())
    assert done(world) == none | {"looked_at": 2, "rung": 1, "requeued": 1, "oldest_queued_seconds": waited}

    world.claim(waiting)
    assert (
        done(world)["oldest_queued_seconds"] == 0
    )  # the lapsed one is not to be claimed before its backoff has passed


def test_a_sweep_that_fails_is_not_logged_as_done(world: World, failing: Failing) -> None:
    failing(world.ports.store, "due", Unavailable("The store does not answer."))

    with capture_logs() as lines:
        assert world.post("/v1/sweeps", {}, ADMIN).status_code == 503
    assert LogEvent.SWEEP_DONE not in [line["event"] for line in lines]
