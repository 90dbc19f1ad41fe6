"""One point's play: the scenario, the death, the settling, and the rest after it."""

from pathlib import Path
from typing import Final

from shared.crash_points import Point
from shared.domain.order import LAPSE_MARGIN, State
from tests.crash.ground import Ground
from tests.crash.scenarios import Scenario
from tests.crash.stage import LEASE_SECONDS, SWEEP_SECONDS, Stage
from tests.crash.verdict import differences, final
from tests.crash.waiting import await_value

REST: Final = 4
LONG_REST: Final = REST + int((LEASE_SECONDS + LAPSE_MARGIN.total_seconds()) / SWEEP_SECONDS)
"""Sweeps that a lease does not outlast that nobody renews."""


def play(point: Point, scenario: Scenario, ground: Ground, home: Path) -> None:
    """Raises AssertionError, TimeoutError where anything is not as it is to be."""
    with Stage.prepared(point, ground, home, scenario.launcher_lives(point)) as stage:
        for act in scenario.setting:
            act(stage)
        with stage.playing():
            for act in scenario.acts:
                act(stage)
            stage.await_death()
            _settle(stage, ground)
            _rest(stage, ground)
        assert stage.functions.as_armed, stage.functions.deaths
        assert stage.launcher.as_armed, stage.launcher.deaths


def _settle(stage: Stage, ground: Ground) -> None:
    try:
        await_value(lambda: not differences(stage, ground) or None, "a settled stage")
    except TimeoutError as error:
        raise AssertionError("\n".join(differences(stage, ground))) from error


def _rest(stage: Stage, ground: Ground) -> None:
    """See that it stays so: final states do not change, and what runs is renewed."""
    ended = final(stage)
    runs = any(ending.state is State.RUNNING for ending in stage.endings.values())
    stage.await_sweeps(LONG_REST if runs else REST)
    assert differences(stage, ground) == []
    assert final(stage) == ended
