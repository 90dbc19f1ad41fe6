"""The orders that the control plane lists as held are compared with the machines here."""

import threading
from collections.abc import Callable

import pytest
import structlog.testing

from launcher.host.clock import SYSTEM, Clock
from launcher.orders.adoption import holds_in
from launcher.orders.mode import Mode
from launcher.orders.reconciliation import Reconciliation
from shared.domain.order import State
from shared.log_events import LogEvent
from shared.wire.launchers import Hold, HoldsView, HoldView
from tests.launcher.conftest import InProcessLauncher
from tests.launcher.fake_control_plane import HEARTBEATS, HOLDS, UPDATES
from tests.launcher.recovery.left import a_directory


@pytest.mark.parametrize(
    ("state", "status"),
    [(State.CLAIMED, "returned"), (State.PROVISIONING, "returned"), (State.RUNNING, "machine_gone")],
)
def test_an_order_of_which_nothing_is_left_here_is_given_up(
    launcher: InProcessLauncher, state: State, status: str
) -> None:
    launcher.server.holds = [HoldView(order_id="forgotten", epoch=3, state=state)]

    a_reconciliation(launcher).run(launcher.admission.closed)

    (report,) = launcher.server.bodies(UPDATES)
    assert (report["status"], report["epoch"]) == (status, 3)
    assert launcher.server.bodies(HOLDS) == [{"launcher": "alpha"}, {"launcher": "alpha"}]  # its own, then the name's


def test_a_running_order_of_which_nothing_is_left_is_given_up_to_an_older_control_plane_as_a_failed_attempt(
    launcher: InProcessLauncher,
) -> None:
    launcher.server.knows_machine_gone = False
    launcher.server.holds = [HoldView(order_id="forgotten", epoch=3, state=State.RUNNING)]

    a_reconciliation(launcher).run(launcher.admission.closed)

    assert launcher.server.statuses("forgotten") == ["machine_gone", "failed"]
    report = launcher.server.bodies(UPDATES)[-1]
    assert (report["reason"], report["epoch"]) == ("machine_exited", 3)


def test_an_order_that_is_held_is_not_given_up(launcher: InProcessLauncher) -> None:
    assignment = launcher.begin()
    launcher.server.holds = [HoldView(order_id=assignment.hold.order_id, epoch=1, state=State.RUNNING)]

    a_reconciliation(launcher).run(launcher.admission.closed)

    assert launcher.server.statuses(assignment.hold.order_id) == ["provisioning"]


@pytest.mark.parametrize("refused", [HOLDS, UPDATES])
def test_the_list_of_held_orders_is_requested_until_it_is_answered(launcher: InProcessLauncher, refused: str) -> None:
    paused: list[float] = []

    def pause(seconds: float, interrupt: threading.Event) -> None:
        paused.append(seconds)
        if len(paused) == 2:
            launcher.server.serve(refused)

    launcher.server.refuse(refused, 503)
    launcher.server.holds = [HoldView(order_id="forgotten", epoch=3, state=State.CLAIMED)]

    a_reconciliation(launcher, pause).run(launcher.admission.closed)

    assert paused == [1, 2]
    assert launcher.server.statuses("forgotten")[-1] == "returned"


def test_only_recorded_orders_are_renewed_at_the_start_and_a_namesakes_are_only_logged(
    launcher: InProcessLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = a_directory(launcher.state)
    here = HoldView(order_id=vm.manifest.order_id, epoch=1, state=State.PROVISIONING)
    foreign = HoldView(order_id="foreign", epoch=1, state=State.RUNNING)
    monkeypatch.setattr(
        launcher.client,
        "holds",
        lambda _name, namesakes=False: HoldsView(holds=(here, foreign) if namesakes else (here,)),
    )
    reconciliation = a_reconciliation(launcher)

    renewed = reconciliation.renew(holds_in(launcher.state), Mode.DAEMON)
    with structlog.testing.capture_logs() as logs:
        reconciliation.run(launcher.admission.closed)

    assert list(renewed) == [Hold(order_id=vm.manifest.order_id, epoch=1)]
    (beat,) = launcher.server.bodies(HEARTBEATS)
    assert beat["holds"] == [{"order_id": vm.manifest.order_id, "epoch": 1}]
    assert not launcher.server.statuses("foreign")
    (logged,) = [line for line in logs if line["event"] == LogEvent.NAME_SHARED]
    assert logged["orders"] == [{"order_id": "foreign", "epoch": 1}]


def test_a_daemon_that_shuts_down_waits_for_no_answer(launcher: InProcessLauncher) -> None:
    launcher.server.refuse(HOLDS, 503)

    a_reconciliation(launcher, lambda _seconds, interrupt: interrupt.set()).run(launcher.admission.closed)

    assert len(launcher.server.bodies(HOLDS)) == 1


def a_reconciliation(
    launcher: InProcessLauncher, pause: Callable[[float, threading.Event], None] = SYSTEM.pause
) -> Reconciliation:
    clock = Clock(SYSTEM.monotonic, lambda: 0.0, pause)
    return Reconciliation(launcher.client, "alpha", launcher.assignments, launcher.outage, clock)
