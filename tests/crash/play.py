"""One point's play: the scenario, the death, and the settling after it."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from functions.domain.order import LAPSE_MARGIN
from shared.crash_points import Point
from shared.domain.order import State
from shared.wire.orders import OrderView
from tests.crash.ground import Ground
from tests.crash.scenarios import Scenario
from tests.crash.stage import LEASE_SECONDS, SWEEP_SECONDS, Stage
from tests.crash.verdict import differences, final
from tests.crash.waiting import LOOK_SECONDS

SETTLE_SECONDS: Final = 300.0
REST: Final = 4
LONG_REST: Final = REST + int((LEASE_SECONDS + LAPSE_MARGIN.total_seconds()) / SWEEP_SECONDS)
"""Sweeps that a lease does not outlast that nobody renews."""


def play(point: Point, scenario: Scenario, ground: Ground, home: Path) -> None:
    """Raises AssertionError, TimeoutError where anything is not as it is to be."""
    try:
        _play(point, scenario, ground, home)
    except (AssertionError, TimeoutError) as error:
        error.add_note(f"What its processes said is in {home}.")
        raise


def _play(point: Point, scenario: Scenario, ground: Ground, home: Path) -> None:
    with Stage.prepared(point, ground, home, scenario.earlier, scenario.polling) as stage:
        for act in scenario.setting:
            act(stage)
        with stage.playing():
            for act in scenario.acts:
                act(stage)
            stage.await_death()
            _settle(stage, ground)
        assert stage.functions.as_armed, stage.functions.deaths
        assert stage.launcher.as_armed, stage.launcher.deaths


def _settle(stage: Stage, ground: Ground) -> None:
    """Wait until everything is as it is to be, and stays so for a while; what was final once does not change at all."""
    deadline = time.monotonic() + SETTLE_SECONDS
    runs = any(ending.state is State.RUNNING for ending in stage.endings.values())
    ended: Mapping[str, OrderView] = {}
    while wrong := differences(stage, ground) or _after_a_rest(stage, ground, LONG_REST if runs else REST):
        assert time.monotonic() < deadline, "\n".join(wrong)
        before, ended = ended, final(stage)
        assert {order_id: ended.get(order_id) for order_id in before} == before
        time.sleep(LOOK_SECONDS)


def _after_a_rest(stage: Stage, ground: Ground, sweeps: int) -> list[str]:
    ended = final(stage)
    stage.await_sweeps(sweeps)
    assert final(stage) == ended
    return differences(stage, ground)
