"""Reports of progress: few, the latest counts, and never in the program's way."""

import logging
import threading
from pathlib import Path
from typing import Any, Final

import pytest

from shared.domain.spec import ExportOptions, ExportSpec
from tests.worker.control_plane import PROGRESS, FakeControlPlane
from worker.callbacks import Callbacks
from worker.logs import open_log
from worker.network import Client, client
from worker.progress import INTERVAL_SECONDS, ProgressReports, reported
from worker.runtime import Worker

ROOT: Final = "01K9MHPYR07M6YMZ1QGR8DZB8S"
TREE: Final = ExportSpec(pi=ROOT, options=ExportOptions(recursive=True))
LOG: Final = logging.getLogger(__name__)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def counts(plane: FakeControlPlane) -> list[int]:
    return [received.report[PROGRESS]["done"] for received in plane.reports]


def test_counts_are_passed_on_at_most_every_three_seconds(plane: FakeControlPlane, http: Client, clock: Clock) -> None:
    progress = ProgressReports(Callbacks(http, plane.config(TREE)), LOG, clock)
    passed_on = []
    for second in range(7):
        clock.now = second
        progress({"done": second})
        if progress._wake.is_set():
            passed_on.append(second)
            progress._wake.clear()

    assert passed_on == [INTERVAL_SECONDS, 2 * INTERVAL_SECONDS]


@pytest.mark.parametrize("status", [400, 422, 409])
def test_after_a_refused_report_there_is_no_other(
    plane: FakeControlPlane, http: Client, clock: Clock, status: int
) -> None:
    plane.statuses[PROGRESS] = [status]
    with reported(Callbacks(http, plane.config(TREE)), LOG, clock) as progress:
        [sender] = [thread for thread in threading.enumerate() if thread.name == PROGRESS]
        clock.now = INTERVAL_SECONDS
        progress({"done": 1})
        sender.join(300)

        assert not sender.is_alive()
    assert counts(plane) == [1]


def test_an_unanswered_report_is_not_repeated_and_the_next_one_is_sent(
    plane: FakeControlPlane, http: Client, clock: Clock
) -> None:
    plane.statuses[PROGRESS] = [503, 503]
    with reported(Callbacks(http, plane.config(TREE)), LOG, clock) as progress:
        for number in range(1, 4):
            clock.now = number * INTERVAL_SECONDS
            progress({"done": number})
            plane.await_events(PROGRESS, number)

    assert counts(plane) == [1, 2, 3]


def test_a_program_does_not_wait_for_a_control_plane_that_does_not_answer(clock: Clock) -> None:
    released, sent = threading.Event(), []

    class Slow:
        def progress(self, counts: Any) -> None:
            sent.append(counts["done"])
            released.wait(300)

    with reported(Slow(), LOG, clock) as progress:  # type: ignore[arg-type]
        for number in range(1, 100):
            clock.now = number * INTERVAL_SECONDS
            progress({"done": number})
        released.set()

    assert len(sent) <= 2


@pytest.mark.parametrize("status", [200, 400, 409, 503])
def test_an_export_completes_whatever_becomes_of_its_progress(
    plane: FakeControlPlane, arke: str, tmp_path: Path, status: int
) -> None:
    plane.statuses[PROGRESS] = [status] * 100
    seconds = iter(range(0, 10_000, 4))
    config = plane.config(TREE, source=arke)

    with client(None) as http:
        code = Worker(config, http, tmp_path, open_log(config), clock=lambda: float(next(seconds))).run()

    assert code == 0
    assert PROGRESS in plane.events
    assert plane.steps == ["started", "upload", "completed"]
    assert plane.reports[-1].report["event"] == "completed"
    assert plane.reports[-1].report["metrics"]["entities_exported"] == 13
