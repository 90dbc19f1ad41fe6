"""Reports of progress: few, the latest counts, and never in the program's way."""

import logging
import threading
from pathlib import Path
from typing import Any, Final

import pytest

from shared.domain.spec import ExportOptions, ExportSpec
from tests.worker.control_plane import FakeControlPlane
from worker.callbacks import Callbacks
from worker.logs import open_log
from worker.network import Client, client
from worker.progress import INTERVAL_SECONDS, reported
from worker.runtime import Worker

ROOT: Final = "01K9MHPYR07M6YMZ1QGR8DZB8S"
TREE: Final = ExportSpec(pi=ROOT, options=ExportOptions(recursive=True))
LOG: Final = logging.getLogger(__name__)
PROGRESS: Final = "progress"


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


def test_counts_are_reported_at_most_every_three_seconds(plane: FakeControlPlane, http: Client, clock: Clock) -> None:
    with reported(Callbacks(http, plane.config(TREE)), LOG, clock) as progress:
        for second in range(7):
            clock.now = second
            progress({"done": second})
            if second and second % INTERVAL_SECONDS == 0:
                plane.await_events(PROGRESS, second // int(INTERVAL_SECONDS))

    assert counts(plane) == [3, 6]


@pytest.mark.parametrize(("status", "reports"), [(400, 1), (422, 1), (409, 1), (503, 3)])
def test_a_refused_report_is_the_last_one_and_an_unanswered_one_is_not_repeated(
    plane: FakeControlPlane, http: Client, clock: Clock, status: int, reports: int
) -> None:
    plane.statuses[PROGRESS] = [status] * 3
    with reported(Callbacks(http, plane.config(TREE)), LOG, clock) as progress:
        for number in range(1, 4):
            clock.now = number * INTERVAL_SECONDS
            progress({"done": number})
            plane.await_events(PROGRESS, min(number, reports))

    assert counts(plane) == [1, 2, 3][:reports]


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
    assert plane.reports[-1].report["event"] == "completed"
    assert plane.reports[-1].report["metrics"]["entities_exported"] == 13
