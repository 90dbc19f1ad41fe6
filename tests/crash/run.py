"""One run of a scenario: its steps, its deaths, and then the wait until everything has settled."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from functions.domain.order import LAPSE_MARGIN
from functions.domain.refusals import Refusal
from shared.domain.order import State
from shared.wire.orders import OrderView
from tests.crash.deployment import LEASE_SECONDS, Deployment, deployed
from tests.crash.outcome import differences, final_orders
from tests.crash.scenarios import Scenario
from tests.harness.projects import Projects

SETTLE_SECONDS: Final = 300.0
QUIET_SWEEPS: Final = 3
LAPSE_SECONDS: Final = LEASE_SECONDS + LAPSE_MARGIN.total_seconds()
"""While an order runs, all is quiet for so long, too: then a lease which nobody renews has lapsed."""


def run(scenario: Scenario, projects: Projects, home: Path) -> None:
    """Raises AssertionError, TimeoutError, GaveUp if anything differs from the expected outcome."""
    with deployed(projects, home, scenario.functions, scenario.launcher, scenario.polling, scenario.fly) as deployment:
        try:
            for step in scenario.setup:
                step(deployment)
            with deployment.running():
                for step in scenario.steps:
                    step(deployment)
                deployment.await_deaths()
                _settle(deployment)
            assert deployment.functions.died_as_planned, deployment.functions.deaths
            assert deployment.launcher.died_as_planned, deployment.launcher.deaths
        except Exception as error:
            error.add_note(f"The logs of its processes are in {home}.")
            for server in (deployment.functions, deployment.launcher):
                planned = [point and point.name for point in server.planned]
                error.add_note(f"{server.name} died {len(server.deaths)} times; planned: {planned}")
            for order_id in deployment.endings:
                error.add_note(_stored(deployment, order_id))
            raise


def _stored(deployment: Deployment, order_id: str) -> str:
    """Describe an order as the store has it: one that used up its attempts explains what never came."""
    try:
        order = deployment.store.get(order_id)
    except Refusal as refusal:
        return f"order {order_id} cannot be read: {refusal.message}"
    attempts = f"attempt {order.attempt} of {order.max_attempts}"
    return f"order {order_id} is {order.state} at epoch {order.epoch}, {attempts}: {order.reason}: {order.message}"


def _settle(deployment: Deployment) -> None:
    """Wait until everything is as expected and stays so for a while. An order in a final state must not change."""
    deadline = time.monotonic() + SETTLE_SECONDS
    runs = any(ending.state is State.RUNNING for ending in deployment.endings.values())
    ended: Mapping[str, OrderView] = {}
    while wrong := differences(deployment) or _when_all_was_quiet(deployment, runs):
        assert time.monotonic() < deadline, "\n".join(wrong)
        before, ended = ended, final_orders(deployment)
        assert {order_id: ended.get(order_id) for order_id in before} == before
        deployment.await_sweeps(1)


def _when_all_was_quiet(deployment: Deployment, runs: bool) -> list[str]:
    """Return the differences after some sweeps; if an order `runs`, after its lease could have lapsed, too."""
    ended = final_orders(deployment)
    deployment.await_sweeps(QUIET_SWEEPS)
    if runs:
        deployment.let_pass(LAPSE_SECONDS)
    assert final_orders(deployment) == ended
    return differences(deployment)
