"""The sweep removes outputs after their retention, and old idempotency keys."""

import hashlib
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from functions.domain.order import output_key
from functions.ports.orders import KEY_TTL, Due, OrderStore
from functions.ports.outputs import PresignedUpload
from shared.domain.order import State
from shared.domain.spec import AnySpec
from tests.factories import CAPACITY, EXPORT, NOW, TASK
from tests.functions.world import World
from tests.meanwhile import Meanwhile

CONTENT = b"what the worker left"
OUTPUT: dict[str, Any] = {
    "file_name": "output.log",
    "content_type": "text/plain",
    "size": len(CONTENT),
    "sha256": hashlib.sha256(CONTENT).hexdigest(),
}
DAY = timedelta(days=1)
METHODS = [name for name in vars(OrderStore) if not name.startswith("_")]


def upload(world: World, order_id: str, epoch: int = 1) -> str:
    """Upload as the worker of that epoch does; return the key."""
    grant = world.call_back(order_id, "upload", epoch, **OUTPUT).get_json()["upload"]
    assert world.bucket.put(PresignedUpload(**grant), CONTENT)
    return output_key(order_id, epoch, OUTPUT["sha256"], OUTPUT["content_type"])


def succeed(world: World, spec: AnySpec = EXPORT, idempotency_key: str | None = None) -> tuple[str, str]:
    """Return the id of an order that succeeded, and the key of its output."""
    order_id: str = world.place(spec, idempotency_key=idempotency_key)["id"]
    world.claim(order_id)
    key = upload(world, order_id)
    assert world.call_back(order_id, "completed", **OUTPUT).get_json()["state"] == "succeeded"
    return order_id, key


def test_an_exports_output_is_kept_for_a_day_and_then_discarded_once(world: World) -> None:
    order_id, key = succeed(world)
    world.clock.now += DAY - timedelta(seconds=1)
    assert (world.sweep()["discarded"], world.bucket.stat(key) is None) == (0, False)
    assert world.get(f"/v1/orders/{order_id}/output").status_code == 307

    world.clock.now += timedelta(seconds=1)
    answers = [world.sweep()["discarded"] for _ in range(2)]

    assert (answers, world.bucket.stat(key)) == ([1, 0], None)
    view = world.view(order_id)
    assert (view["state"], view["output"]["file_name"]) == ("succeeded", "output.log")
    assert view["discarded_at"] is not None


def test_a_discarded_output_is_gone(world: World) -> None:
    order_id, _ = succeed(world)
    world.clock.now += DAY
    world.sweep()

    response = world.get(f"/v1/orders/{order_id}/output")

    assert response.status_code == 410
    assert response.get_json()["type"] == "urn:launchyard:problem:gone"


def test_outputs_of_failed_attempts_are_discarded_too(world: World) -> None:
    order_id = world.place(EXPORT)["id"]
    world.claim(order_id)
    keys = [upload(world, order_id)]
    world.lapse(order_id)
    world.claim(order_id)
    keys.append(upload(world, order_id, epoch=2))
    world.call_back(order_id, "failed", epoch=2, reason="program_failed", message="", failure="permanent")
    world.clock.now += DAY

    assert world.sweep()["discarded"] == 1
    assert [world.bucket.stat(key) for key in keys] == [None, None]


def test_retention_is_as_long_as_the_client_asked_for(world: World) -> None:
    body = {"order": EXPORT.model_dump(mode="json"), "limits": {"retention_seconds": 60}}
    order_id = world.post("/v1/orders", body, headers={"Idempotency-Key": "one"}).get_json()["id"]
    world.claim(order_id)
    key = upload(world, order_id)
    world.call_back(order_id, "completed", **OUTPUT)
    world.clock.now += timedelta(seconds=60)

    assert (world.sweep()["discarded"], world.bucket.stat(key)) == (1, None)


def test_nothing_is_looked_for_of_orders_that_cannot_have_left_anything(world: World) -> None:
    cancelled, capacity = world.place()["id"], world.place(CAPACITY)["id"]
    world.post(f"/v1/orders/{cancelled}/cancel")
    world.claim(capacity)
    world.post(f"/v1/orders/{capacity}/cancel")
    world.update(capacity, "stopped")
    world.clock.now += 30 * DAY

    assert world.sweep()["looked_at"] == 0


def test_a_sweep_that_dies_after_the_deletion_is_repeated_by_the_next(world: World, meanwhile: Meanwhile) -> None:
    order_id, key = succeed(world)
    world.clock.now += DAY
    meanwhile(world.ports.store, "apply", die)
    assert world.sweep()["discarded"] == 0
    assert (world.bucket.stat(key), world.order(order_id).discarded_at) == (None, None)

    assert world.sweep()["discarded"] == 1
    assert world.order(order_id).discarded_at == world.clock.now


def test_nothing_is_recorded_as_removed_that_the_bucket_still_holds(world: World, meanwhile: Meanwhile) -> None:
    order_id, key = succeed(world)
    world.clock.now += DAY
    meanwhile(world.bucket, "delete_below", die)
    assert world.sweep()["discarded"] == 0

    assert world.order(order_id).discarded_at is None
    assert world.bucket.stat(key) is not None
    assert world.sweep()["discarded"] == 1
    assert world.bucket.stat(key) is None


def test_an_idempotency_key_is_forgotten_after_a_day_and_its_order_stays(world: World) -> None:
    first = world.place(TASK, idempotency_key="one")["id"]
    world.clock.now += KEY_TTL
    world.sweep()
    assert world.place(TASK, idempotency_key="one")["id"] == first

    world.clock.now += timedelta(seconds=1)

    assert world.sweep()["keys_forgotten"] == 1
    assert world.place(TASK, idempotency_key="one")["id"] != first
    assert world.order(first).id == first


def test_a_sweep_finishes_each_of_its_tasks_however_few_it_reads_at_once(world: World) -> None:
    for _ in range(3):
        succeed(world)
    world.clock.now += DAY + timedelta(seconds=1)

    answers = [world.sweep(limit=2) for _ in range(2)]

    assert [answer["discarded"] for answer in answers] == [3, 0]
    assert [answer["keys_forgotten"] for answer in answers] == [3, 0]
    assert [answer["more"] for answer in answers] == [False, False]


def test_two_sweeps_at_once_do_each_thing_once(world: World, meanwhile: Meanwhile) -> None:
    held, (ended, _), waiting = world.place()["id"], succeed(world), world.place()["id"]
    world.claim(held)
    world.clock.now += DAY
    others: list[dict[str, Any]] = []
    meanwhile(world.ports.store, "due", lambda: others.append(world.sweep()), after=True)

    sweeps = [world.sweep(), *others]

    assert len(sweeps) == 2
    for what in ("requeued", "discarded", "ended"):
        assert sum(answer[what] for answer in sweeps) == 1, what
    assert world.order(held).state is State.QUEUED
    assert world.order(held).attempt == 1
    assert world.order(waiting).state is State.EXPIRED
    assert world.order(ended).discarded_at == world.clock.now


class CountedCalls:
    """A store that counts the calls made of it, and how many orders its answers held."""

    def __init__(self, store: object) -> None:
        self._store, self.calls, self.orders = store, Counter[str](), 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._store, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            answer = method(*args, **kwargs)
            self.orders += len(answer.orders) if isinstance(answer, Due) else 0
            return answer

        return counted


def swept(world: World, monkeypatch: pytest.MonkeyPatch) -> tuple[Counter[str], int]:
    """Sweep; return the calls that it made of the store, and how many orders it was given."""
    counted = CountedCalls(world.ports.store)
    with monkeypatch.context() as counting:
        for name in METHODS:
            counting.setattr(world.ports.store, name, getattr(counted, name))
        world.sweep()
    return counted.calls, counted.orders


@pytest.mark.parametrize("stored", [0, 50, 200])
def test_a_sweep_costs_reads_only_for_due_orders(world: World, monkeypatch: pytest.MonkeyPatch, stored: int) -> None:
    later = (NOW + timedelta(days=20)).isoformat()
    for number in range(stored):
        body = {"order": TASK.model_dump(mode="json"), "not_before": later}
        world.post("/v1/orders", body, headers={"Idempotency-Key": f"later-{number}"})
    for _ in range(3):
        world.claim(world.place()["id"])
    world.clock.now += timedelta(minutes=2)

    calls, orders = swept(world, monkeypatch)

    # `waiting_since` reads one order at most.
    assert (dict(calls), orders) == ({"due": 3, "apply": 3, "forget_keys": 1, "waiting_since": 1}, 3)


def die() -> None:
    raise ZeroDivisionError("killed here")
