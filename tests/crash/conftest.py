"""The ground that all points share, and their count at the end of the run."""

import re
from collections.abc import Iterator
from typing import Final

import pytest

from shared.crash_points import Point
from tests.crash.ground import Ground

PLAY: Final = re.compile(r"after_a_death\[([A-Z_]+): ")


@pytest.fixture(scope="module")
def ground(firestore_host: str, pubsub_host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Ground.prepared(firestore_host, pubsub_host, tmp_path_factory.mktemp("ground")) as ground:
        yield ground


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at how many of the points that were played a process died, with nothing of it to be seen afterwards."""
    passed, failed = _points(terminalreporter, "passed"), _points(terminalreporter, "failed", "error")
    if played := passed | failed:
        terminalreporter.write_line(
            f"crash points: {len(passed - failed)} of {len(played)} passed; there are {len(Point)}"
        )


def _points(terminalreporter: pytest.TerminalReporter, *outcomes: str) -> set[str]:
    reports = [report for outcome in outcomes for report in terminalreporter.getreports(outcome)]
    return {found[1] for report in reports if (found := PLAY.search(report.nodeid))}
