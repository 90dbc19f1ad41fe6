"""kill -9 at every named point, a restart, and what came of it."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from _pytest.mark.structures import ParameterSet

from shared.crash_points import Point
from tests.crash.ground import Ground
from tests.crash.play import play
from tests.crash.scenarios import SCENARIOS

AT_ONCE = 4
"""Most of a play is waiting: for leases, backoffs and bells."""
SAMPLE = {
    *(Point.CREATE_STORED, Point.CLAIM_STORED, Point.CALLBACK_COMPLETED, Point.SWEEP_APPLIED, Point.POOL_CREATED),
    *(Point.LAUNCHER_DIRECTORY, Point.LAUNCHER_STARTED, Point.LAUNCHER_ADOPTED),
}
"""Of each kind of process, and of each kind of loss; the first scenario of each. The other plays are slow."""
PLAYS = {
    f"{point.name}: {scenario.name}": (point, scenario)
    for point, scenarios in SCENARIOS.items()
    for scenario in scenarios
}


def _marked(name: str) -> ParameterSet:
    point, scenario = PLAYS[name]
    is_sample = point in SAMPLE and scenario is SCENARIOS[point][0]
    return pytest.param(name, marks=() if is_sample else pytest.mark.slow)


@pytest.fixture(scope="module")
def played(
    request: pytest.FixtureRequest, ground: Ground, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[None]]]:
    """The plays that were asked for, side by side."""
    asked = [name for name in PLAYS if any(item.name.endswith(f"[{name}]") for item in request.session.items)]
    pool = ThreadPoolExecutor(AT_ONCE)

    def begin(name: str) -> Future[None]:
        point, scenario = PLAYS[name]
        return pool.submit(play, point, scenario, ground, tmp_path_factory.mktemp(point.name))

    yield {name: begin(name) for name in asked}
    pool.shutdown(cancel_futures=True)


def test_every_point_has_a_scenario() -> None:
    assert {point for point, scenarios in SCENARIOS.items() if scenarios} == set(Point)


@pytest.mark.emulator
@pytest.mark.parametrize("name", [_marked(name) for name in PLAYS])
def test_nothing_is_lost_doubled_or_left_running_after_a_death(name: str, played: Mapping[str, Future[None]]) -> None:
    played[name].result()
