"""kill -9 at every named point, a restart, and what came of it."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from shared.crash_points import Point
from tests.crash.ground import Ground
from tests.crash.play import play
from tests.crash.scenarios import SCENARIOS

AT_ONCE = 4
"""Most of a play is waiting: for leases, backoffs and bells."""


@pytest.fixture(scope="module")
def plays(
    request: pytest.FixtureRequest, ground: Ground, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[Point, Future[None]]]:
    """The plays of all points that were asked for, side by side."""
    asked = [point for point in Point if any(f"[{point.name}]" in item.nodeid for item in request.session.items)]
    pool = ThreadPoolExecutor(AT_ONCE)
    homes = {point: tmp_path_factory.mktemp(point.name) for point in asked}
    yield {point: pool.submit(play, point, SCENARIOS[point], ground, homes[point]) for point in asked}
    pool.shutdown(cancel_futures=True)


def test_every_point_has_a_scenario() -> None:
    assert SCENARIOS.keys() == set(Point)


@pytest.mark.emulator
@pytest.mark.parametrize("point", [pytest.param(point, id=point.name) for point in Point])
def test_nothing_is_lost_doubled_or_left_running_after_a_death_at_this_point(
    point: Point, plays: Mapping[Point, Future[None]]
) -> None:
    plays[point].result()
