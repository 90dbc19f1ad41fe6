"""The environment that all scenarios share, and the count of the points at the end of the run."""

import re
from collections.abc import Iterator
from typing import Final

import pytest

from shared.crash_points import Point
from tests.crash.scenarios import SCENARIOS
from tests.harness.projects import Projects, sharing

TEST: Final = re.compile(r"after_a_death\[(.+)\]")


@pytest.fixture(scope="module")
def projects(firestore_host: str, pubsub_host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Projects]:
    with sharing(firestore_host, pubsub_host, tmp_path_factory.mktemp("environment")) as projects:
        yield projects


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write how many points passed: all scenarios that ran and that have a death at the point."""
    passed, failed = _points(terminalreporter, "passed"), _points(terminalreporter, "failed", "error")
    if reached := passed | failed:
        terminalreporter.write_line(
            f"crash points: {len(passed - failed)} of {len(reached)} passed; there are {len(Point)}"
        )


def _points(terminalreporter: pytest.TerminalReporter, *outcomes: str) -> set[Point]:
    reports = [report for outcome in outcomes for report in terminalreporter.getreports(outcome)]
    names = {found[1] for report in reports if (found := TEST.search(report.nodeid))}
    return {point for scenario in SCENARIOS if scenario.name in names for point in scenario.points}
