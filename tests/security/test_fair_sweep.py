"""One account's due orders, however many, keep no other's from what the sweep owes them."""

from datetime import timedelta
from typing import Final

import pytest

from functions.domain.accounts import AccountType
from functions.domain.job_launchers import JobLauncher
from functions.domain.order import LAPSE_MARGIN, RING_GRACE
from functions.engine import job_launchers
from shared.domain.order import LEASE, State
from tests.factories import TASK, a_claim, a_key, an_order
from tests.functions.jobs import client as jobs
from tests.functions.world import World

AT_ONCE: Final = 10
"""How many orders of each kind the sweep reads at once."""
MANY: Final = 3 * AT_ONCE
HOUR: Final = timedelta(hours=1)


def test_one_sweep_rings_for_an_order_behind_many_of_another_account_that_have_expired(world: World) -> None:
    now = world.clock.now
    for _ in range(MANY):
        dead = an_order(TASK, account="flood", now=now - HOUR, expires_at=now, due_at=now - HOUR)
        world.ports.store.create(dead, a_key(dead))
    world.bells.broken = True
    victim = world.place()["id"]
    world.bells.broken = False
    world.clock.now += RING_GRACE

    answer = world.sweep(limit=AT_ONCE)

    assert (answer["ended"], answer["more"]) == (MANY, False)
    assert world.bells.rung[-1] == victim


def test_one_sweep_queues_an_order_again_behind_many_of_another_account_that_are_lost(world: World) -> None:
    store, now = world.ports.store, world.clock.now
    for nth in range(MANY + 1):
        account = "victim" if nth == MANY else "flood"
        held = an_order(TASK, account=account)
        store.create(held, a_key(held))
        store.apply(held.id, a_claim(now=now + nth * timedelta(seconds=1)), now)
    world.clock.now += LEASE + LAPSE_MARGIN + timedelta(minutes=1)

    assert world.sweep(limit=AT_ONCE)["requeued"] == MANY + 1
    assert world.order(held.id).state is State.QUEUED


def test_orders_that_cannot_be_rung_for_keep_no_others_from_what_they_are_due(world: World) -> None:
    world.bells.broken = True
    for _ in range(MANY):
        world.place()
    lost = [world.place()["id"] for _ in range(MANY)]
    for order_id in lost:
        world.claim(order_id)
    world.clock.now += LEASE + LAPSE_MARGIN

    answer = world.sweep(limit=AT_ONCE)

    assert (answer["requeued"], answer["rung"], answer["more"]) == (MANY, 0, True)
    assert answer["looked_at"] == MANY + AT_ONCE  # those that cannot be rung for are tried once


def test_one_sweep_ends_the_jobs_of_a_lost_launcher_behind_many_of_another_account_that_are_silent(
    world: World,
) -> None:
    _, flood = world.admit(AccountType.LAUNCHER)
    for _ in range(MANY):
        jobs.register(world, flood)
    world.clock.now += timedelta(seconds=1)
    launcher = jobs.register(world)
    jobs.create(world)
    running = launcher.run()

    for _ in range(2):  # it is doubted first
        world.clock.now += jobs.STALE_AFTER
        world.sweep(limit=AT_ONCE)

    assert jobs.status(world, running) == "failed"


def test_launchers_of_jobs_that_cannot_be_looked_at_end_the_sweep(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        jobs.register(world)
    world.clock.now += jobs.STALE_AFTER

    tried = list[str]()

    def fail(launcher: JobLauncher, *_: object) -> None:
        tried.append(launcher.id)
        world.clock.now += timedelta(seconds=1)  # so that a sweep which goes on ends, too
        raise RuntimeError("The record cannot be settled.")

    monkeypatch.setattr(job_launchers, "doubted", fail)

    assert world.sweep(limit=1)["ended"] == 0
    assert len(tried) == 1


def test_an_account_registers_no_more_launchers_of_jobs_than_its_quota(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_launchers, "MAX_REGISTERED", 2)
    _, key = world.admit(AccountType.LAUNCHER)
    first, _ = jobs.register(world, key), jobs.register(world, key)

    refused = world.post("/launcher/register", {}, key)

    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
    assert "registered_launchers" in refused.text
    assert jobs.register(world).id
    assert first.deregister().status_code == 200
    assert jobs.register(world, key).id
