"""What every chaos run must have waits for what it needs: a slow host only makes it come later."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from uuid import uuid4

import pytest

from shared.domain.order import State
from shared.domain.spec import OrderKind
from tests.chaos import disruptions, machines
from tests.chaos.clients import Clients
from tests.chaos.disruptions import Disruptions
from tests.chaos.machines import RunningMachine
from tests.chaos.pace import MIN_LEASE_SECONDS, lease_for
from tests.chaos.schedule import PlannedOrder
from tests.factories import TASK

KEPT, OTHER = str(uuid4()), str(uuid4())
CALLS: Final = {"requeue": State.FAILED, "purge": State.SUCCEEDED, "download": State.SUCCEEDED}


class Api:
    """A control plane with one order, which has ended only when the orders are listed for the third time."""

    def __init__(self, state: State) -> None:
        self.lists = 0
        self._state = state

    def create_order(self, _spec: object, key: str) -> SimpleNamespace:
        return SimpleNamespace(id=key)

    def list_orders(self, state: State | None, limit: int) -> SimpleNamespace:
        self.lists += 1
        order = SimpleNamespace(id="an order", kind=OrderKind.TASK, state=self._state, output="its output")
        return SimpleNamespace(orders=[order] if self.lists >= 3 else [])

    def requeue_order(self, _order_id: str) -> SimpleNamespace:
        return SimpleNamespace(id="its successor")

    def purge_order(self, _order_id: str) -> bool:
        return True

    def download_output(self, _order: object, to: Path) -> None:
        to.write_bytes(b"its output")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again without waiting."""
    monkeypatch.setattr("tests.chaos.clients.RETRY_SECONDS", 0)
    monkeypatch.setattr("tests.chaos.disruptions.POLL_SECONDS", 0)


def clients_of(api: Any) -> Clients:
    clients = Clients(api, threading.Event())
    clients.place(PlannedOrder(1, "an order", TASK, "its text"))
    return clients


def done_by(clients: Clients) -> int:
    return len([*clients.requeues(), *clients.purges(), *clients.downloads()])


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("name", "state"), CALLS.items())
def test_what_a_run_must_have_waits_for_an_order(name: str, state: State) -> None:
    clients = clients_of(Api(state))

    getattr(clients, name)(0, sure=True)

    assert done_by(clients) == 1


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("name", "state"), CALLS.items())
def test_what_a_run_may_have_does_not_wait_and_what_it_had_is_not_waited_for(name: str, state: State) -> None:
    api = Api(state)
    clients = clients_of(api)

    getattr(clients, name)(0)
    assert done_by(clients) == 0
    getattr(clients, name)(0, sure=True)
    lists = api.lists
    getattr(clients, name)(0, sure=True)

    assert done_by(clients) == 1
    assert api.lists == lists + 1


class Launcher:
    def __init__(self, name: str) -> None:
        self.name, self.runs, self.lock = name, True, threading.Lock()
        self.done: list[str] = []

    def kill(self) -> None:
        self.done.append("killed")

    def start(self) -> None:
        self.done.append("started")


def disruptions_of(home: Path, launchers: list[Launcher], kept: Callable[[], set[str]]) -> Disruptions:
    deployment: Any = SimpleNamespace(home=home, terms=SimpleNamespace(run="chaos-test", lease=10), launchers=launchers)
    return Disruptions(deployment, threading.Event(), kept)


@pytest.mark.usefixtures("at_once")
def test_a_sure_kill_waits_for_the_machine_of_an_order_that_is_to_run_until_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process: Any = None
    alpha, beta = Launcher("alpha"), Launcher("beta")
    task, kept = RunningMachine("alpha", OTHER, process, "vm-1"), RunningMachine("beta", KEPT, process, "vm-2")
    looks = iter([[], [task], [task]])
    monkeypatch.setattr(machines, "running", lambda _home, _run: next(looks, [task, kept]))

    chaos = disruptions_of(tmp_path, [alpha, beta], lambda: {KEPT})
    chaos.kill_launcher(0, 0, sure=True)

    assert (alpha.done, beta.done) == ([], ["killed", "started"])
    assert chaos.counts == {"launcher killed": 1}


@pytest.mark.usefixtures("at_once")
def test_a_launcher_is_killed_although_no_machine_comes_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disruptions, "SURE_SECONDS", 0)
    monkeypatch.setattr(machines, "running", lambda _home, _run: [])
    alpha = Launcher("alpha")

    chaos = disruptions_of(tmp_path, [alpha], lambda: {KEPT})
    chaos.kill_launcher(0, 0, sure=True)

    assert alpha.done == ["killed", "started"]
    assert chaos.counts == {"launcher killed that held nothing": 1}


def test_a_lease_is_long_enough_for_a_launchers_start_on_a_slow_host() -> None:
    assert lease_for(load_seconds=0.4) == MIN_LEASE_SECONDS
    assert lease_for(load_seconds=4) == 24
