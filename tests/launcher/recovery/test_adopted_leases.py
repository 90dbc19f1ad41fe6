"""The lease of an adopted machine: the one that was just renewed, or else the recorded one."""

import signal
import threading
from collections.abc import Callable

import pytest

from launcher.host.clock import SYSTEM
from launcher.machines import directory
from launcher.machines.directory import LEASE, VmDirectory, read
from launcher.machines.records import VmLease
from launcher.orders.assignment import Assignment, StopReason
from tests.launcher.conftest import InProcessLauncher
from tests.launcher.fake_control_plane import DEADLINE, HEARTBEATS, UPDATES
from tests.launcher.recovery.left import Left, adopt


def test_a_lease_that_was_recorded_before_a_reboot_has_ended(
    launcher: InProcessLauncher, leave: Callable[..., Left]
) -> None:
    left = leave()
    left.directory.record_lease(VmLease(ends=SYSTEM.monotonic() + 30 * 24 * 3600, seconds=60))

    adopt(launcher)
    launcher.await_room(2)

    assert left.reaped() == -signal.SIGKILL
    assert not left.directory.path.exists()


def test_an_adopted_machine_is_ended_in_time_although_the_control_plane_is_away(
    launcher: InProcessLauncher, leave: Callable[..., Left]
) -> None:
    for path in (UPDATES, HEARTBEATS):
        launcher.server.refuse(path, 503)
    left = leave(seconds=24)  # of which the last 4 are there for a busy machine, too
    lease = left.directory.lease()

    adopt(launcher)
    launcher.assignments.await_end()

    assert left.reaped() == -signal.SIGKILL
    assert SYSTEM.monotonic() < lease.ends


@pytest.mark.parametrize("lease", ["not a lease", '{"ends": 0.0, "seconds": 60.0}'])
def test_a_machine_whose_lease_is_over_or_unknown_is_ended_at_once(
    launcher: InProcessLauncher, leave: Callable[..., Left], lease: str
) -> None:
    left = leave()
    (left.directory.path / LEASE).write_text(lease)

    adopt(launcher)
    launcher.assignments.await_end()

    assert left.reaped() == -signal.SIGKILL
    assert not launcher.server.bodies(UPDATES)


def test_a_lease_is_on_the_disk_before_the_machine_starts_and_after_each_renewal(launcher: InProcessLauncher) -> None:
    assignment = launcher.begin()
    path = directory.location(launcher.state, assignment.hold.order_id, 1)
    assert read(path).lease() == assignment.lease

    assignment.renew(SYSTEM.monotonic(), 600)

    assert read(path).lease() == assignment.lease
    assert assignment.lease.seconds == 600


def test_a_lease_that_cannot_be_written_stops_nothing(
    launcher: InProcessLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: VmDirectory, _lease: VmLease) -> None:
        raise OSError(28, "No space left on device")

    assignment = launcher.begin()
    monkeypatch.setattr(VmDirectory, "record_lease", full)

    assignment.renew(SYSTEM.monotonic(), 600)

    assert assignment.lease_left() > 400
    assert assignment.stop_reason is None


def test_the_watch_of_a_machine_that_had_been_left_to_itself_ends_it_once_its_new_lease_is_not_renewed(
    launcher: InProcessLauncher, leave: Callable[..., Left], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, next_check = threading.Event(), Assignment._next_check

    def checked(assignment: Assignment) -> float:
        watched.set()
        return next_check(assignment)

    left = leave()
    left.directory.record_lease(VmLease(ends=0, seconds=0.6, never_expires=True))
    monkeypatch.setattr(Assignment, "_next_check", checked)

    adopt(launcher)
    (assignment,) = launcher.assignments.held()
    assert watched.wait(DEADLINE)  # while the lease has no end
    assert left.process.is_running()
    assignment.renew(SYSTEM.monotonic(), 0.6)

    assert assignment.interrupted.wait(DEADLINE)
    assert assignment.stop_reason is StopReason.LEASE_LOST
    launcher.assignments.await_end()
    assert left.reaped() < 0
