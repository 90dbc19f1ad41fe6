"""The path of a create: the number of its store calls, and of the modules that a reader has to visit."""

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Final

import pytest

import functions
import shared
from functions.adapters.memory import MemoryOrderStore
from functions.domain.events import AnyEvent
from functions.domain.order import Order
from functions.ports.orders import OrderStore, Snapshot
from tests.functions.world import World

PRODUCT: Final = tuple(Path(package.__file__ or "").parent for package in (functions, shared))
MAX_MODULES: Final = 9


def test_a_create_costs_a_commit_and_the_record_of_its_bell(world: World, calls: list[str]) -> None:
    """The first of an account in a while costs the count of its orders, too."""
    world.place()
    assert calls == ["count", "create", "apply"]
    calls.clear()
    world.bells.asked.clear()

    placed = world.place()

    assert calls == ["create", "apply"]
    assert world.bells.rung == [placed["id"]]
    assert world.order(placed["id"]).due_at is not None


def test_the_bell_is_recorded_on_the_version_that_was_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the store would be asked for the order first."""
    seen = []
    apply = world.ports.store.apply

    def note(order_id: str, event: AnyEvent, now: datetime, at: Snapshot | None = None) -> Order:
        seen.append(at)
        return apply(order_id, event, now, at)

    monkeypatch.setattr(world.ports.store, "apply", note)
    placed = world.place()

    (snapshot,) = seen
    assert snapshot is not None
    assert (snapshot.order.id, snapshot.order.recent) == (placed["id"], ())


def test_a_create_runs_through_few_modules_until_it_is_stored(world: World) -> None:
    """The test's client has no connection, so the body has no deadline here."""
    world.place()  # which makes the services, and caches the key

    modules = _modules_until_stored(lambda: world.place())

    listed = "\n".join(sorted(modules))
    assert "functions/engine/orders.py" in modules, listed
    assert len(modules) <= MAX_MODULES, (
        f"{len(modules)} modules of the product ran before the order was stored:\n{listed}"
    )


@pytest.fixture
def calls(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the store's methods that are called, in order."""
    called: list[str] = []

    def counted(name: str) -> Callable[..., object]:
        method = getattr(world.ports.store, name)

        def call(*args: object) -> object:
            called.append(name)
            return method(*args)

        return call

    for name in [name for name in vars(OrderStore) if not name.startswith("_")]:
        monkeypatch.setattr(world.ports.store, name, counted(name))
    return called


def _modules_until_stored(request: Callable[[], object]) -> set[str]:
    """Return the files of the product in which a function ran, until the store's `create` returned."""
    ran, stored = set[str](), False

    def note(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal stored
        code = frame.f_code
        if stored or event not in ("call", "return"):
            return
        path = Path(code.co_filename)
        for package in PRODUCT:
            if path.is_relative_to(package):
                ran.add(str(path.relative_to(package.parent)))
        stored = event == "return" and code is MemoryOrderStore.create.__code__

    sys.setprofile(note)
    try:
        request()
    finally:
        sys.setprofile(None)
    assert stored
    return ran
