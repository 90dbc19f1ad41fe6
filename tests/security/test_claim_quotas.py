"""Quotas of launchers: how many of an account's claims wait at an instance, and how many orders a launcher holds."""

from dataclasses import replace
from typing import Any, Final
from uuid import uuid4

import pytest
import structlog.testing
from werkzeug.test import TestResponse

from functions.domain.accounts import AccountType
from functions.domain.quotas import DEFAULT_QUOTAS
from functions.domain.refusals import Unavailable
from functions.engine.arrivals import DISPLACED_DELAY
from functions.engine.quotas import MIN_RECOUNT_AGE
from functions.settings import QuotaSettings, WaitingSettings
from shared.domain.order import State
from shared.log_events import LogEvent
from shared.settings import read_or_exit
from shared.wire.launchers import IDENTITY_HEADER
from tests.factories import CAPACITY
from tests.functions.capacity.orders import claim as claim_by_contract
from tests.functions.capacity.orders import place
from tests.functions.conftest import SETTINGS
from tests.functions.jobs import client
from tests.functions.world import LAUNCHER, OTHER_LAUNCHER, World, by_id, next_of
from tests.meanwhile import Meanwhile

WAIT: Final = 30


def limit(world: World, max_waiting: int = 600, **quotas: Any) -> None:
    world.ports = replace(world.ports, max_waiting=max_waiting, quotas=replace(DEFAULT_QUOTAS, **quotas))


def claim(world: World, key: str = LAUNCHER, **changes: Any) -> TestResponse:
    return world.post("/v1/claims", next_of(**changes), key)


def while_one_waits(world: World, key: str = LAUNCHER, **changes: Any) -> TestResponse:
    """Claim while a claim of LAUNCHER waits, and return the answer."""
    answers = list[TestResponse]()

    def ask() -> None:
        world.clock.while_waiting = lambda: None
        answers.append(claim(world, key, **changes))

    world.clock.while_waiting = ask
    assert claim(world, wait_seconds=WAIT).get_json() == {"claimed": None}
    return answers[0]


def refused(answer: TestResponse, quota: str) -> None:
    assert answer.status_code == 429, answer.text
    assert int(answer.headers["Retry-After"]) > 0
    problem = answer.get_json()
    assert problem["type"] == "urn:launchyard:problem:quota_exceeded"
    assert problem["detail"].endswith(f"(quota: {quota})")


def test_only_so_many_claims_of_one_account_wait_at_an_instance(world: World) -> None:
    limit(world, waiting_claims=1)

    refused(while_one_waits(world, wait_seconds=WAIT), "waiting_claims")
    refused(while_one_waits(world, wait_seconds=WAIT, launcher="beta"), "waiting_claims")
    assert while_one_waits(world, OTHER_LAUNCHER, wait_seconds=WAIT).status_code == 200
    assert while_one_waits(world).status_code == 200, "it does not wait"
    assert claim(world, wait_seconds=WAIT).status_code == 200, "the others wait no longer"


def test_no_account_has_more_claims_waiting_than_may_wait_at_all(world: World) -> None:
    limit(world, max_waiting=1, waiting_claims=500)

    refused(while_one_waits(world, wait_seconds=WAIT), "waiting_claims")


def test_a_waiting_claim_whose_answer_was_lost_is_answered_although_too_many_wait(world: World) -> None:
    limit(world, waiting_claims=1)
    order_id = world.place()["id"]
    assert claim(world, wait_seconds=WAIT, request_id="a-request").get_json()["claimed"]["order_id"] == order_id

    again = while_one_waits(world, wait_seconds=WAIT, request_id="a-request")

    assert again.get_json()["claimed"]["order_id"] == order_id


def test_a_launcher_of_jobs_is_answered_with_nothing_after_a_pause_if_too_many_polls_wait(world: World) -> None:
    limit(world, waiting_claims=1)
    polling = client.register(world)
    answers = list[TestResponse]()

    def poll() -> None:
        world.clock.while_waiting = lambda: None
        answers.append(polling.poll())

    world.clock.while_waiting = poll
    assert claim(world, wait_seconds=WAIT).status_code == 200

    assert answers[0].status_code == 204
    assert world.clock.waits[1] == DISPLACED_DELAY.total_seconds()


def test_a_launcher_of_jobs_that_may_not_wait_still_receives_stop_commands(world: World) -> None:
    limit(world, held_orders=1)
    launcher = client.register(world)
    client.create(world)
    job_id = launcher.run()
    client.create(world)
    assert launcher.poll().status_code == 204

    client.stop(world, job_id)

    assert launcher.command_or_job() == {"stop_jobs": [job_id]}


BY_CLAIM: Final = ("by id", "next", "next, waiting")


def take(world: World, order_id: str, how: str, key: str = LAUNCHER, **changes: Any) -> TestResponse:
    """Claim in one of these ways."""
    if how == "by id":
        return world.post("/v1/claims", by_id(order_id, **changes), key)
    return claim(world, key, wait_seconds=WAIT if "waiting" in how else 0, **changes)


@pytest.mark.parametrize("how", BY_CLAIM)
def test_a_launcher_holds_no_more_orders_than_its_quota(world: World, how: str) -> None:
    limit(world, held_orders=3)
    orders = [world.place()["id"] for _ in range(10)]
    for order_id in orders[:3]:
        assert take(world, order_id, how).get_json()["claimed"] is not None

    answer = take(world, orders[3], how)

    refused(answer, "held_orders")
    assert "The launcher alpha holds 3 orders, which is the most." in answer.get_json()["detail"]
    refused(world.post("/v1/claims", by_id(orders[3]), LAUNCHER, {IDENTITY_HEADER: str(uuid4())}), "held_orders")
    assert len(world.ports.store.held_by("rack/alpha")) == 3
    assert take(world, orders[3], how, OTHER_LAUNCHER).status_code == 200
    assert take(world, orders[4], how, launcher="beta").status_code == 200


@pytest.mark.parametrize("how", BY_CLAIM)
def test_a_launcher_whose_order_has_ended_gets_another(world: World, how: str) -> None:
    limit(world, held_orders=1)
    first, second = (world.place()["id"] for _ in range(2))
    held = take(world, first, how).get_json()["claimed"]["order_id"]
    refused(take(world, second, how), "held_orders")

    assert world.update(held, "returned", message="no room").status_code == 200
    world.clock.now += MIN_RECOUNT_AGE

    assert take(world, second, how).get_json()["claimed"] is not None


@pytest.mark.parametrize("how", BY_CLAIM)
def test_a_claim_whose_answer_was_lost_is_answered_although_the_launcher_may_hold_no_more(
    world: World, how: str
) -> None:
    limit(world, held_orders=1)
    first, second = (world.place()["id"] for _ in range(2))
    held = take(world, first, how, request_id="a-request").get_json()["claimed"]["order_id"]
    refused(take(world, second, how), "held_orders")

    again = take(world, held, how, request_id="a-request")

    assert again.get_json()["claimed"]["order_id"] == held


@pytest.mark.parametrize("how", BY_CLAIM)
def test_an_account_with_many_names_for_its_launcher_holds_no_more_than_the_accounts_quota(
    world: World, how: str
) -> None:
    limit(world, held_orders=2, account_held_orders=3)
    orders = [world.place()["id"] for _ in range(5)]
    for number, order_id in enumerate(orders[:3]):
        assert take(world, order_id, how, launcher=f"name-{number}").status_code == 200

    refused(take(world, orders[3], how, launcher="name-4"), "account_held_orders")
    assert take(world, orders[3], how, OTHER_LAUNCHER).status_code == 200


def test_a_launcher_of_jobs_that_may_hold_no_more_gets_no_job_and_no_error(world: World) -> None:
    limit(world, held_orders=1)
    launcher = client.register(world)
    jobs = {client.create(world) for _ in range(2)}
    held = launcher.run()

    answer = launcher.poll()

    assert (answer.status_code, answer.data) == (204, b"")
    assert {client.status(world, job_id) for job_id in jobs - {held}} == {"pending"}
    assert launcher.accepted(held, "completed")
    world.clock.now += MIN_RECOUNT_AGE
    assert launcher.take() in jobs


def test_workers_of_the_contract_get_no_order_and_no_error_once_their_account_holds_enough(world: World) -> None:
    limit(world, held_orders=1, account_held_orders=2)
    _, worker = world.admit(AccountType.LAUNCHER)
    for _ in range(2):
        place(world)
        assert claim_by_contract(world, worker)["claimed"]
    third = place(world)

    with structlog.testing.capture_logs() as logs:
        answer = claim_by_contract(world, worker)

    assert (answer["claimed"], answer["order"]) == (False, None)
    assert world.order(third).state is State.QUEUED
    assert [line["quota"] for line in logs if line["event"] == LogEvent.QUOTA_EXCEEDED] == ["account_held_orders"]


def test_what_a_launcher_holds_is_counted_once_for_many_claims(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = list[tuple[str, str | None]]()
    count_held = world.ports.store.count_held

    def counted(account: str, name: str | None = None) -> int:
        counts.append((account, name))
        return count_held(account, name)

    monkeypatch.setattr(world.ports.store, "count_held", counted)
    for _ in range(20):
        assert world.claim(world.place()["id"]) is not None

    assert sorted(counts, key=str) == [("rack", "alpha"), ("rack", None)]


def test_a_claim_whose_count_fails_takes_nothing(world: World, meanwhile: Meanwhile) -> None:
    order_id = world.place(CAPACITY)["id"]

    def fail() -> None:
        raise Unavailable("The order store does not answer.")

    meanwhile(world.ports.store, "count_held", fail)

    assert world.post("/v1/claims", by_id(order_id), LAUNCHER).status_code == 503
    assert world.order(order_id).state is State.QUEUED


@pytest.mark.parametrize(
    ("threads", "setting", "waiting", "held_back"),
    [(1000, None, 600, 100), (64, None, 38, 6), (64, "10", 10, 6), (8, None, 4, 1), (1, None, 1, 1)],
)
def test_claims_that_wait_leave_threads_for_other_requests(
    settings: pytest.MonkeyPatch, threads: int, setting: str | None, waiting: int, held_back: int
) -> None:
    for name, value in {**SETTINGS, "THREADS": str(threads), "LAUNCHYARD_MAX_WAITING": setting or ""}.items():
        settings.setenv(name, value)

    read = read_or_exit(WaitingSettings)

    assert (read.claims_that_wait, read.claims_held_back) == (waiting, held_back)


def test_each_quota_is_a_setting(settings: pytest.MonkeyPatch) -> None:
    for name, value in SETTINGS.items():
        settings.setenv(name, value)
    assert read_or_exit(QuotaSettings).quotas() == DEFAULT_QUOTAS

    for number, name in enumerate(DEFAULT_QUOTAS.__slots__, 2):
        settings.setenv(f"LAUNCHYARD_QUOTA_{name.upper()}", str(number))

    changed = read_or_exit(QuotaSettings).quotas()
    assert [getattr(changed, name) for name in DEFAULT_QUOTAS.__slots__] == list(range(2, 8))
