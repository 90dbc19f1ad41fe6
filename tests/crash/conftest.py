"""The ground that all points share, and their count at the end of the run."""

from collections.abc import Iterator

import pytest

from shared.crash_points import Point
from tests.crash.ground import Ground

PASSED = "test_nothing_is_lost_doubled_or_left_running_after_a_death_at_this_point["


@pytest.fixture(scope="module")
def ground(firestore_host: str, pubsub_host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Ground.prepared(firestore_host, pubsub_host, tmp_path_factory.mktemp("ground")) as ground:
        yield ground


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [
        report
        for outcome in ("passed", "failed", "error")
        for report in terminalreporter.getreports(outcome)
        if PASSED in report.nodeid
    ]
    if reports:
        passed = len({report.nodeid for report in reports if report.passed and report.when == "call"})
        terminalreporter.write_line(f"crash points: {passed} of {len(Point)} were died at, and passed")
