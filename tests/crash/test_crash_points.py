"""kill -9 at every named point and a restart: nothing is lost, doubled or left running."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import pytest

from shared.crash_points import Point
from tests.crash.run import run
from tests.crash.scenarios import SCENARIOS
from tests.harness.projects import Projects

MAX_AT_ONCE: Final = 6
"""Most of a run is waiting: for leases, backoffs and bells."""
BY_NAME: Final = {scenario.name: scenario for scenario in SCENARIOS}


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, projects: Projects, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[None]]]:
    """The runs of the scenarios that were selected, several at the same time."""
    selected = [name for name in BY_NAME if any(item.name.endswith(f"[{name}]") for item in request.session.items)]
    pool = ThreadPoolExecutor(MAX_AT_ONCE)
    yield {name: pool.submit(run, BY_NAME[name], projects, tmp_path_factory.mktemp("run")) for name in selected}
    pool.shutdown(cancel_futures=True)


def test_every_point_has_a_scenario() -> None:
    assert frozenset[Point]().union(*(scenario.points for scenario in SCENARIOS)) == set(Point)
    assert len(BY_NAME) == len(SCENARIOS)


@pytest.mark.emulator
@pytest.mark.parametrize(
    "name",
    [pytest.param(one.name, marks=() if one.is_sample else pytest.mark.slow, id=one.name) for one in SCENARIOS],
)
def test_nothing_is_lost_doubled_or_left_running_after_a_death(name: str, runs: Mapping[str, Future[None]]) -> None:
    runs[name].result()
