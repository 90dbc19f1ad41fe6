"""Admission: how many machines there is room for, by each resource."""

import threading
from pathlib import Path

import pytest
import structlog.testing

from launcher.host import facts as host
from launcher.machines import directory
from launcher.machines.resources import Resources
from launcher.orders.admission import Admission
from launcher.orders.lanes import Lane
from shared.wire.launchers import Hold
from tests.launcher.fake_control_plane import DEADLINE

NEED = Resources(machines=1, memory_mib=100, vcpus=2, disk_mib=10, tdx_keys=1)
PLENTY = Resources(machines=100, memory_mib=10_000, vcpus=200, tdx_keys=100)


LANE = Lane("any/task", "qemu", NEED)


def an_admission(state: Path, free_disk_mib: int = 1000, **there_is: int) -> Admission:
    return Admission(state, PLENTY.model_copy(update=there_is), lambda: free_disk_mib, lambda: 1000.0)


@pytest.mark.parametrize(
    "there_is",
    [{"machines": 2}, {"memory_mib": 299}, {"vcpus": 5}, {"tdx_keys": 2}, {"free_disk_mib": 29}],
    ids=lambda there_is: next(iter(there_is)),
)
def test_there_is_never_more_reserved_than_there_is(tmp_path: Path, there_is: dict[str, int]) -> None:
    admission = an_admission(tmp_path, **there_is)

    taken = [admission.reserve(LANE) for _ in range(3)]

    assert [room is not None for room in taken] == [True, True, False]
    assert admission.room(LANE) == 0
    assert taken[0] is not None
    admission.free(taken[0])
    assert admission.reserve(LANE) is not None


def test_room_that_was_found_is_not_asked_for_again(tmp_path: Path) -> None:
    free = iter([1000])
    admission = Admission(tmp_path, PLENTY, lambda: next(free, 0), lambda: 1000.0)

    assert admission.reserve_when_free([LANE]) is not None  # None would be the end of the launcher's intake


def test_a_provider_at_fault_rests_and_then_has_room_again_and_others_do_not_rest(tmp_path: Path) -> None:
    now = [1000.0]
    admission = Admission(tmp_path, PLENTY, lambda: 0, lambda: now[0])
    here, there = (Lane("any/task", name, Resources(machines=1)) for name in ("qemu", "gcp"))

    admission.rest("qemu")

    assert (admission.room(here), admission.reserve(here)) == (0, None)
    assert admission.room(there) == PLENTY.machines
    now[0] += 60
    assert admission.room(here) == PLENTY.machines


def test_resources_that_a_machine_does_not_need_are_not_required(tmp_path: Path) -> None:
    whole = Resources(machines=3, memory_mib=1000)
    admission = Admission(tmp_path, whole, lambda: 0, lambda: 1000.0)

    assert admission.room(Lane("any/task", "qemu", Resources(machines=1, memory_mib=128))) == 3


@pytest.mark.parametrize("lacking", [{"memory_mib": 99}, {"vcpus": 1}, {"tdx_keys": 0}])
def test_a_host_too_small_for_one_machine_takes_none_and_says_so(tmp_path: Path, lacking: dict[str, int]) -> None:
    admission = an_admission(tmp_path, **lacking)

    assert not admission.fits(NEED)
    assert admission.reserve(LANE) is None


def test_sessions_are_limited_beside_the_slots_and_their_limit_is_not_logged(tmp_path: Path) -> None:
    session = Lane("any/session", "process", Resources(machines=1, sessions=1))
    admission = an_admission(tmp_path, machines=3, sessions=1)

    with structlog.testing.capture_logs() as logs:
        first = admission.reserve_when_free([session, LANE])
        second = admission.reserve_when_free([session, LANE])

    assert first is not None
    assert first.lanes == (session, LANE)
    assert second is not None
    assert second.lanes == (LANE,)
    assert not logs
    admission.resize(first.reservation, LANE)  # the claim brought a task
    assert (admission.room(session), admission.room(LANE)) == (1, 1)


def test_a_disk_that_is_full_now_may_have_room_later(tmp_path: Path) -> None:
    admission = an_admission(tmp_path, free_disk_mib=0)

    assert admission.fits(NEED)
    assert admission.reserve(LANE) is None


def test_a_machines_written_files_are_not_counted_twice(tmp_path: Path) -> None:
    admission = an_admission(tmp_path, free_disk_mib=24)
    room, hold = admission.reserve(LANE), Hold(order_id="one", epoch=1)
    assert room is not None
    assert admission.room(LANE) == 1
    written = directory.location(tmp_path, "one", 1) / "serial.log"
    written.parent.mkdir(parents=True)
    written.write_bytes(b"\1" * (6 << 20))

    admission.fill(room, hold)

    assert admission.room(LANE) == 2  # 24 MiB are free, and 4 of them are spoken for


def test_room_on_a_disk_that_others_freed_is_found(tmp_path: Path) -> None:
    free = iter([0, 0, 0])
    admission = Admission(tmp_path, PLENTY, lambda: next(free, 10), lambda: 1000.0, disk_check_seconds=0.01)

    found: list[int] = []
    waiting = threading.Thread(target=lambda: found.append(admission.await_room([LANE])), daemon=True)
    waiting.start()
    waiting.join(DEADLINE)

    assert found == [1]


@pytest.mark.parametrize("lacking", ["disk_mib", "memory_mib", "vcpus", "tdx_keys"])
def test_a_lane_without_room_is_logged_once_and_again_when_it_has_room(tmp_path: Path, lacking: str) -> None:
    has = {"free_disk_mib": 100} if lacking == "disk_mib" else {lacking: getattr(NEED, lacking)}
    disk = [has.pop("free_disk_mib", 1000)]
    admission = Admission(tmp_path, PLENTY.model_copy(update=has), lambda: disk[0], lambda: 1000.0)
    small = Lane("any/export", "qemu", Resources(machines=1))
    taken = admission.reserve(LANE)
    assert taken is not None
    disk[0] = 9 if lacking == "disk_mib" else 1000

    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            admission.await_room([LANE, small])
        admission.free(taken)
        disk[0] = 1000
        for _ in range(3):
            admission.await_room([LANE, small])

    assert [(line["log_level"], line["lane"]) for line in logs] == [("warning", LANE.name), ("info", LANE.name)]
    assert list(logs[0]["needed"]) == list(logs[0]["left"]) == [lacking]


@pytest.mark.parametrize("memory_mib", [PLENTY.memory_mib, NEED.memory_mib])
def test_full_slots_are_not_logged(tmp_path: Path, memory_mib: int) -> None:
    admission = an_admission(tmp_path, machines=1, memory_mib=memory_mib)
    other = Lane("any/export", "qemu", Resources(vcpus=1))
    admission.reserve(LANE)

    with structlog.testing.capture_logs() as logs:
        admission.await_room([LANE, other])

    assert logs == []


def test_a_wait_for_room_ends_when_admission_closes(tmp_path: Path) -> None:
    admission = an_admission(tmp_path, machines=0)
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.append(admission.reserve_when_free([LANE])))
    waiting.start()

    admission.close()
    waiting.join()

    assert found == [None]


TINY = Lane("x:y/capacity/tiny", "qemu", Resources(machines=1, memory_mib=100, disk_mib=1000))
LLM = Lane("x:y/capacity/llm", "qemu", Resources(machines=1, memory_mib=900, gpus=1))


def test_room_is_reserved_for_the_most_that_any_fitting_lane_needs_and_the_rest_is_given_back(tmp_path: Path) -> None:
    admission = an_admission(tmp_path, free_disk_mib=1000, memory_mib=1000, gpus=1)

    room = admission.reserve_when_free([TINY, LLM])

    assert room is not None
    assert room.lanes == (TINY, LLM)
    assert (admission.room(TINY), admission.room(LLM)) == (0, 0)
    admission.resize(room.reservation, TINY)
    assert (admission.room(TINY), admission.room(LLM)) == (0, 1)  # the one disk is taken, by a machine of its own size
    admission.free(room.reservation)
    assert (admission.room(TINY), admission.room(LLM)) == (1, 1)


def test_only_lanes_that_fit_now_are_asked_for(tmp_path: Path) -> None:
    admission = an_admission(tmp_path, free_disk_mib=5000, memory_mib=1000, gpus=1)
    assert admission.reserve(TINY) is not None
    assert admission.reserve(TINY) is not None

    room = admission.reserve_when_free([TINY, LLM])

    assert room is not None
    assert room.lanes == (TINY,)
    assert admission.await_room([TINY, LLM]) == 2


def test_the_kernel_says_how_many_tdx_keys_there_are(tmp_path: Path) -> None:
    capacity = tmp_path / "misc.capacity"
    capacity.write_text("sev 0\ntdx 63\n")

    assert host.tdx_keys(capacity) == 63
    assert host.tdx_keys(tmp_path / "absent") == 0


PACED = Lane("any/task/image", "fly", Resources(machines=1), starting_limit=2)
OTHERS_OF_FLY = Lane("any/export/image", "fly", Resources(machines=1), starting_limit=2)


def test_a_provider_starts_no_more_machines_at_once_than_it_can(
    tmp_path: Path,
) -> None:
    admission = an_admission(tmp_path)
    taken = [admission.reserve(lane) for lane in (PACED, OTHERS_OF_FLY, PACED)]
    assert [room is not None for room in taken] == [True, True, False]
    assert admission.room(LANE) > 0

    assert taken[0] is not None
    admission.note_started(taken[0])

    assert (admission.room(PACED), admission.room(OTHERS_OF_FLY)) == (1, 1)


def test_an_attempt_that_ends_before_its_machine_started_makes_room_for_another_start(tmp_path: Path) -> None:
    admission = an_admission(tmp_path)
    first, _ = admission.reserve(PACED), admission.reserve(PACED)
    assert first is not None
    admission.free(first)
    assert admission.room(PACED) == 1


def test_a_claim_of_any_lane_counts_as_a_start_until_its_lane_is_known(tmp_path: Path) -> None:
    admission = an_admission(tmp_path)
    assert admission.reserve(PACED) is not None

    room = admission.reserve_when_free([PACED, LANE])

    assert room is not None
    assert room.lanes == (PACED, LANE)
    assert admission.room(PACED) == 0
    admission.resize(room.reservation, LANE)
    assert admission.room(PACED) == 1


def test_lanes_whose_provider_cannot_start_another_are_left_out_of_a_claim(tmp_path: Path) -> None:
    admission = an_admission(tmp_path)
    for _ in range(2):
        assert admission.reserve(PACED) is not None

    room = admission.reserve_when_free([PACED, LANE])

    assert room is not None
    assert room.lanes == (LANE,)


def test_a_machine_that_was_adopted_is_not_being_started(tmp_path: Path) -> None:
    admission = an_admission(tmp_path)
    for number in range(5):
        admission.readmit(Hold(order_id=f"order-{number}", epoch=1), PACED.need)
    assert admission.room(PACED) == 2
