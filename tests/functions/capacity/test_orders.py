"""The capacity contract's orders, sections 3 to 5 and 10: a worker claims and reports, people list."""

from datetime import datetime, timedelta
from typing import Any, NoReturn

import pytest
from werkzeug.test import TestResponse

from functions.domain.access import ApiKey, Role, digest
from functions.domain.accounts import NOBODY, AccountType
from functions.domain.events import AnyEvent
from functions.domain.order import Order
from functions.domain.refusals import Unavailable
from functions.ports import Snapshot
from shared.domain.order import Reason, State
from shared.domain.spec import Attestation, CapacitySpec, NodeSize
from tests.functions.world import ADMIN, CLIENT, LAUNCHER, World

CLAIM = "/api/v1/launchers/capacity/orders/claim"
GCP = CapacitySpec(datacenter="gcp:us-central1-a", node_size=NodeSize.TINY)
RACK = CapacitySpec(datacenter="baremetal:rack-7", node_size=NodeSize.STANDARD)
FIELDS = {
    *("order_id", "datacenter", "node_size", "status", "reason", "requested_count", "account_id"),
    *("claimed_by_account_id", "claim_expires_at", "claimed_at", "fulfilled_at", "vm_name", "error"),
    *("created_at", "updated_at"),
}


@pytest.fixture
def worker(world: World) -> str:
    """A launcher account's key."""
    return world.admit(AccountType.LAUNCHER)[1]


def claim(world: World, key: str, **filters: str) -> dict[str, Any]:
    answer = world.post(CLAIM, filters, key)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.get_json()
    return body


def report(world: World, key: str, order_id: str, status: str, **fields: Any) -> TestResponse:
    return world.post(f"/api/v1/launchers/capacity/orders/{order_id}", {"status": status, **fields}, key)


def told(world: World, key: str, order_id: str, status: str, **fields: Any) -> dict[str, Any]:
    answer = report(world, key, order_id, status, **fields)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.get_json()
    return body


def place(world: World, spec: CapacitySpec = GCP) -> str:
    order_id: str = world.place(spec)["id"]
    world.clock.now += timedelta(seconds=1)
    return order_id


def claimed(world: World, key: str, spec: CapacitySpec = GCP) -> str:
    order_id = place(world, spec)
    assert claim(world, key)["order"]["order_id"] == order_id
    return order_id


def lapse(world: World, seconds: float = 606) -> None:
    world.clock.now += timedelta(seconds=seconds)
    world.sweep()


def unavailable(*_: object, **__: object) -> NoReturn:
    raise Unavailable("The order store does not answer.")


def refused(answer: TestResponse, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/json"
    detail: str = answer.get_json()["detail"]
    return detail


# --- claim ---------------------------------------------------------------------------------------


def test_a_claim_answers_the_order_for_ten_minutes_and_a_token_for_its_guest(world: World) -> None:
    account, key = world.admit(AccountType.LAUNCHER)
    order_id = place(world)
    answer = claim(world, key, datacenter="", node_size="tiny")
    order = answer["order"]
    assert (answer["claimed"], set(order)) == (True, FIELDS)
    assert len(answer["bootstrap_token"]) == 43
    assert order == {
        "order_id": order_id,
        "datacenter": "gcp:us-central1-a",
        "node_size": "tiny",
        "status": "claimed",
        "reason": "capacity-pool-controller",
        "requested_count": 1,
        "account_id": "acme",
        "claimed_by_account_id": account,
        "claim_expires_at": "2026-11-22T12:10:01Z",
        "claimed_at": "2026-11-22T12:00:01Z",
        "fulfilled_at": None,
        "vm_name": None,
        "error": None,
        "created_at": "2026-11-22T12:00:00Z",
        "updated_at": "2026-11-22T12:00:01Z",
    }


def test_a_claim_that_finds_nothing_is_answered_200(world: World, worker: str) -> None:
    assert claim(world, worker) == {"claimed": False, "order": None, "bootstrap_token": None}


def test_a_claim_is_given_the_oldest_order_first(world: World, worker: str) -> None:
    placed = [place(world) for _ in range(3)]
    assert [claim(world, worker)["order"]["order_id"] for _ in placed] == placed


@pytest.mark.parametrize(
    ("filters", "fits"),
    [
        ({}, True),
        ({"datacenter": "", "node_size": ""}, True),
        ({"datacenter": "gcp:us-central1-a"}, True),
        ({"datacenter": " Google:US-central1-a "}, True),
        ({"datacenter": "gcp:us-central1-b"}, False),
        ({"datacenter": "gcp"}, False),  # which is gcp:default
        ({"datacenter": "baremetal:rack-7"}, False),
        ({"node_size": "tiny"}, True),
        ({"node_size": " TINY"}, True),
        ({"node_size": "llm"}, False),
        ({"datacenter": "gcp:us-central1-a", "node_size": "tiny"}, True),
        ({"datacenter": "gcp:us-central1-a", "node_size": "standard"}, False),
        ({"unknown": "fields are ignored"}, True),
    ],
)
def test_a_claim_may_name_a_datacenter_and_a_size(
    world: World, worker: str, filters: dict[str, str], fits: bool
) -> None:
    place(world)
    assert claim(world, worker, **filters)["claimed"] is fits


def test_orders_of_other_kinds_are_never_given_to_workers_of_the_contract(world: World, worker: str) -> None:
    world.place()
    assert not claim(world, worker)["claimed"]


@pytest.mark.parametrize("datacenter", ["*", "gcp:*", "a b:c", ":zone", "gcp:a:b", "x" * 40 + ":a", "gcp:" + "z" * 97])
def test_a_datacenter_that_is_none_is_refused(world: World, worker: str, datacenter: str) -> None:
    detail = refused(world.post(CLAIM, {"datacenter": datacenter}, worker), 422)
    assert detail.startswith("Invalid datacenter. Expected '<cloud>:<zone>'")


def test_a_size_that_is_none_is_refused(world: World, worker: str) -> None:
    detail = refused(world.post(CLAIM, {"node_size": "huge"}, worker), 422)
    assert detail == "Invalid node_size. Expected one of: tiny, standard, llm"


def test_a_mistyped_field_is_named(world: World, worker: str) -> None:
    answer = world.post(CLAIM, {"node_size": 7}, worker)
    assert answer.status_code == 422
    assert answer.get_json()["detail"] == [
        {"type": "string_type", "loc": ["body", "node_size"], "msg": "Input should be a valid string"}
    ]


def test_a_claim_where_the_store_does_not_answer_finds_nothing_rather_than_end_the_worker(
    world: World, worker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(world.app.oldest), "next", unavailable)
    assert claim(world, worker)["claimed"] is False


def test_a_claim_whose_key_cannot_be_looked_up_finds_nothing_rather_than_end_the_worker(
    world: World, worker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise Unavailable("The order store does not answer.")

    order_id = claimed(world, worker)
    monkeypatch.setattr(world.app.keys, "find", down)
    assert claim(world, worker) == {"claimed": False, "order": None, "bootstrap_token": None}
    refused(report(world, worker, order_id, "provisioning"), 503)


def test_an_account_that_is_kept_to_some_datacenters_gets_no_other_order(world: World) -> None:
    world.app.keys.add(ApiKey(digest("ee_live_kept"), Role.LAUNCHER, "kept", datacenters=("baremetal",)))
    place(world, GCP)
    rack = place(world, RACK)
    assert claim(world, "ee_live_kept", datacenter="gcp:us-central1-a")["claimed"] is False
    assert claim(world, "ee_live_kept")["order"]["order_id"] == rack
    assert claim(world, "ee_live_kept")["claimed"] is False


# --- who may ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "detail"),
    [
        (None, "Missing Authorization header"),
        ("ee_live_x", "Invalid Authorization header format. Expected: Bearer <api_key>"),
        ("Bearer", "Invalid Authorization header format. Expected: Bearer <api_key>"),
        ("Bearer a b", "Invalid Authorization header format. Expected: Bearer <api_key>"),
        ("Basic eA==", "Invalid Authorization header format. Expected: Bearer <api_key>"),
        ("Bearer ee_live_nobodys", "Invalid API key"),
    ],
)
def test_who_shows_no_key_is_told_so_in_the_contracts_words(world: World, header: str | None, detail: str) -> None:
    headers = {} if header is None else {"Authorization": header}
    assert refused(world.http.post(CLAIM, data=b"{}", headers=headers), 401) == detail


def test_the_schemes_case_does_not_matter(world: World, worker: str) -> None:
    assert world.http.post(CLAIM, data=b"{}", headers={"Authorization": f"bEARER {worker}"}).status_code == 200


@pytest.mark.parametrize("account_type", [AccountType.DEPLOYER, AccountType.AGENT, AccountType.CONTRIBUTOR])
def test_only_launcher_accounts_claim_and_report(world: World, account_type: AccountType) -> None:
    key = world.admit(account_type)[1]
    assert refused(world.post(CLAIM, {}, key), 403) == "Launcher API key required"
    assert refused(report(world, key, place(world), "provisioning"), 403) == "Launcher API key required"


@pytest.mark.parametrize(
    ("header", "detail"),
    [
        (None, "Missing Authorization header"),
        ("Basic eA==", "Invalid Authorization header format. Expected: Bearer <token>"),
        ("Bearer ee_session_forged.x", "Invalid session token"),
        (f"Bearer {CLIENT}", "Invalid session token"),
    ],
)
def test_who_is_no_operator_is_told_so(world: World, header: str | None, detail: str) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = world.http.get("/api/v1/admin/agents/capacity/orders", headers=headers)
    assert refused(answer, 401) == detail


# --- update ----------------------------------------------------------------------------------------


def test_a_worker_takes_an_order_from_claimed_to_fulfilled(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    provisioning = told(world, worker, order_id, "provisioning")
    assert (provisioning["status"], provisioning["claim_expires_at"]) == ("provisioning", "2026-11-22T12:15:01Z")
    world.clock.now += timedelta(minutes=2)
    order = told(world, worker, order_id, "fulfilled", vm_name="tdvirsh-trust_domain_verity-5e")
    assert (order["status"], order["vm_name"]) == ("fulfilled", "tdvirsh-trust_domain_verity-5e")
    assert (order["claim_expires_at"], order["fulfilled_at"]) == (None, "2026-11-22T12:02:01Z")
    assert world.order(order_id).state is State.RUNNING


def test_a_fulfilled_order_stays_so_without_any_heartbeat(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    told(world, worker, order_id, "fulfilled")
    lapse(world, seconds=40 * 24 * 3600)
    assert world.order(order_id).state is State.RUNNING


def test_a_worker_that_is_never_heard_again_loses_its_claim_after_ten_minutes(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    lapse(world, seconds=604)
    assert world.order(order_id).state is State.CLAIMED
    lapse(world, seconds=2)
    (order,) = world.get("/api/v1/admin/agents/capacity/orders", ADMIN).get_json()["orders"]
    assert (order["status"], order["error"]) == ("open", "claim expired and was re-queued")
    assert [order[name] for name in ("claimed_by_account_id", "claim_expires_at", "claimed_at", "vm_name")] == [
        None
    ] * 4


def test_a_claim_that_finds_nothing_releases_expired_ones_for_the_next(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    world.clock.now += timedelta(seconds=606)
    assert not claim(world, worker)["claimed"]
    world.clock.now += timedelta(seconds=15)
    assert claim(world, world.admit(AccountType.LAUNCHER)[1])["order"]["order_id"] == order_id


def test_provisioning_renews_the_claim_each_time_but_not_for_ever(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    told(world, worker, order_id, "provisioning")
    for _ in range(2):
        world.clock.now += timedelta(minutes=14)
        told(world, worker, order_id, "provisioning")
    lapse(world, seconds=180)
    order = world.order(order_id)
    assert (order.state, order.reason) == (State.QUEUED, Reason.BOOT_TIMEOUT)


def test_claimed_said_again_renews_the_claim(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    world.clock.now += timedelta(minutes=5)
    assert told(world, worker, order_id, "claimed")["claim_expires_at"] == "2026-11-22T12:15:01Z"


@pytest.mark.parametrize("status", ["claimed", "provisioning"])
def test_null_keeps_what_was_said_and_an_empty_text_clears_it(world: World, worker: str, status: str) -> None:
    order_id = claimed(world, worker)
    told(world, worker, order_id, status, vm_name="vm-1", error="slow")
    kept = told(world, worker, order_id, status, vm_name=None)
    assert (kept["vm_name"], kept["error"]) == ("vm-1", "slow")
    cleared = told(world, worker, order_id, status, vm_name="", error="")
    assert (cleared["vm_name"], cleared["error"]) == (None, None)


def test_a_failure_ends_the_order_with_its_error(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    order = told(world, worker, order_id, "failed", error="x" * 450, vm_name="vm-1")
    assert (order["status"], order["error"], order["vm_name"]) == ("failed", "x" * 450, "vm-1")
    assert (order["claim_expires_at"], order["fulfilled_at"]) == (None, "2026-11-22T12:00:01Z")
    assert order["claimed_by_account_id"] is not None


def test_a_failure_without_an_error_says_something(world: World, worker: str) -> None:
    assert told(world, worker, claimed(world, worker), "failed")["error"]


def test_a_provider_that_the_worker_does_not_have_queues_the_order_again(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    order = told(world, worker, order_id, "failed", error="provider 'gcp' is not enabled on this launcher")
    assert order["status"] == "open"
    assert world.order(order_id).attempt == 0


@pytest.mark.parametrize("status", ["fulfilled", "failed"])
def test_the_same_end_told_again_changes_nothing(world: World, worker: str, status: str) -> None:
    order_id = claimed(world, worker)
    first = told(world, worker, order_id, status, error="no")
    world.clock.now += timedelta(minutes=1)
    assert told(world, worker, order_id, status, error="another") == first


@pytest.mark.parametrize(
    ("before", "after"),
    [
        *(("provisioning", "claimed"), ("fulfilled", "claimed"), ("fulfilled", "provisioning")),
        *(("fulfilled", "failed"), ("failed", "fulfilled"), ("failed", "provisioning"), ("failed", "claimed")),
    ],
)
def test_a_transition_that_the_contract_does_not_have_is_refused(
    world: World, worker: str, before: str, after: str
) -> None:
    order_id = claimed(world, worker)
    stood = told(world, worker, order_id, before)
    detail = refused(report(world, worker, order_id, after, vm_name="vm-2"), 409)
    assert detail == f"The order is {before}; it cannot become {after}"
    (stands,) = world.get("/api/v1/admin/agents/capacity/orders", ADMIN).get_json()["orders"]
    assert stands == stood


@pytest.mark.parametrize("status", ["open", "done", "", "FULFILLED!"])
def test_a_status_that_is_none_is_refused(world: World, worker: str, status: str) -> None:
    assert refused(report(world, worker, claimed(world, worker), status), 422) == "invalid order status"


def test_a_report_without_a_status_names_the_field(world: World, worker: str) -> None:
    answer = world.post(f"/api/v1/launchers/capacity/orders/{claimed(world, worker)}", {"vm_name": "x"}, worker)
    assert answer.status_code == 422
    (wrong,) = answer.get_json()["detail"]
    assert (wrong["type"], wrong["loc"], wrong["msg"]) == ("missing", ["body", "status"], "Field required")


@pytest.mark.parametrize("status", ["claimed", "provisioning", "fulfilled", "failed"])
def test_an_order_that_one_does_not_hold_is_not_found(world: World, worker: str, status: str) -> None:
    other = world.admit(AccountType.LAUNCHER)[1]
    theirs, nobodys = claimed(world, other), place(world)
    task, no_id = world.place()["id"], "no order's id"
    for order_id in (theirs, nobodys, task, "4a0e1ae5-5b0d-4c86-9a6c-6f5d3d0c3a10", no_id):
        assert refused(report(world, worker, order_id, status), 404) == "Capacity launch order not found"
    assert world.order(nobodys).state is State.QUEUED


def test_an_order_that_a_launcher_of_ours_holds_is_not_the_contracts_to_report_on(world: World) -> None:
    order_id = world.place(CapacitySpec(datacenter="local:dev", node_size=NodeSize.TINY))["id"]
    assert world.claim(order_id) is not None
    assert refused(report(world, LAUNCHER, order_id, "fulfilled"), 404) == "Capacity launch order not found"


# --- late ------------------------------------------------------------------------------------------


def test_a_worker_that_was_slow_gets_its_order_back_where_nobody_took_it(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    lapse(world)
    order = told(world, worker, order_id, "fulfilled", vm_name="vm-late")
    assert (order["status"], order["vm_name"]) == ("fulfilled", "vm-late")
    assert world.order(order_id).epoch == 2


def test_a_machine_that_comes_when_its_order_is_anothers_has_an_order_of_its_own(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    lapse(world)
    world.clock.now += timedelta(seconds=20)
    assert claim(world, world.admit(AccountType.LAUNCHER)[1])["claimed"]
    for _ in range(2):
        assert told(world, worker, order_id, "fulfilled", vm_name="vm-late")["status"] == "claimed"
    orders = world.get("/api/v1/admin/agents/capacity/orders", ADMIN).get_json()["orders"]
    assert [(order["status"], order["vm_name"]) for order in orders] == [("claimed", None), ("fulfilled", "vm-late")]


def test_a_late_machines_order_is_its_own_from_the_first_write_on(
    world: World, worker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = claimed(world, worker)
    lapse(world)
    world.clock.now += timedelta(seconds=20)
    assert claim(world, world.admit(AccountType.LAUNCHER)[1])["claimed"]
    with monkeypatch.context() as after_the_creation:
        after_the_creation.setattr(type(world.app.store), "apply", unavailable)
        report(world, worker, order_id, "fulfilled", vm_name="vm-late")
    lapse(world)
    orders = world.get("/api/v1/admin/agents/capacity/orders", ADMIN).get_json()["orders"]
    assert [(order["status"], order["vm_name"]) for order in orders] == [("open", None), ("fulfilled", "vm-late")]


def test_a_former_holders_failure_is_taken_note_of_and_changes_nothing(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    lapse(world)
    assert told(world, worker, order_id, "failed", error="too slow")["status"] == "open"


def machines(world: World) -> list[tuple[str, str | None]]:
    orders = world.get("/api/v1/admin/agents/capacity/orders", ADMIN).get_json()["orders"]
    return [(order["status"], order["vm_name"]) for order in orders]


def test_a_machine_that_comes_after_the_last_attempt_has_an_order_of_its_own(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    for _ in range(2):
        lapse(world)
        world.clock.now += timedelta(minutes=1)
        assert claim(world, worker)["claimed"]
    lapse(world)
    assert world.order(order_id).state is State.FAILED

    assert told(world, worker, order_id, "failed", error="too slow")["status"] == "failed"
    assert machines(world) == [("failed", None)]
    for _ in range(2):
        assert told(world, worker, order_id, "fulfilled", vm_name="vm-late")["status"] == "failed"
    assert machines(world) == [("failed", None), ("fulfilled", "vm-late")]


def test_a_machine_that_comes_after_its_claim_lapsed_on_a_cancelled_order_is_kept_in_the_books(
    world: World, worker: str
) -> None:
    order_id = claimed(world, worker)
    world.post(f"/v1/orders/{order_id}/cancel")
    lapse(world)
    assert told(world, worker, order_id, "fulfilled", vm_name="vm-late")["status"] == "failed"
    assert machines(world) == [("failed", None), ("fulfilled", "vm-late")]


def test_of_two_machines_of_one_accounts_workers_the_second_has_an_order_of_its_own(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    lapse(world)
    world.clock.now += timedelta(seconds=20)
    assert claim(world, worker)["claimed"]
    for vm_name in ("vm-1", "vm-2", "vm-1", "vm-2"):
        assert told(world, worker, order_id, "fulfilled", vm_name=vm_name)["vm_name"] == "vm-1"
    assert machines(world) == [("fulfilled", "vm-1"), ("fulfilled", "vm-2")]


def test_a_claim_that_expires_while_its_machine_is_reported_is_given_back(
    world: World, worker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = claimed(world, worker)
    apply = world.app.store.apply

    def expired_just_before(order_id: str, event: AnyEvent, now: datetime, seen: Snapshot | None = None) -> Order:
        monkeypatch.setattr(world.app.store, "apply", apply)
        lapse(world)
        return apply(order_id, event, now, seen)

    monkeypatch.setattr(world.app.store, "apply", expired_just_before)

    order = told(world, worker, order_id, "fulfilled", vm_name="vm-1")

    assert (order["status"], order["vm_name"], world.order(order_id).epoch) == ("fulfilled", "vm-1", 2)


def test_a_machine_that_came_too_late_is_never_replaced(world: World, worker: str) -> None:
    order_id = claimed(world, worker, GCP.model_copy(update={"attestation": Attestation.REQUIRED}))
    lapse(world)
    world.clock.now += timedelta(seconds=20)
    _, other = world.admit(AccountType.LAUNCHER)
    assert claim(world, other)["claimed"]
    told(world, worker, order_id, "fulfilled", vm_name="vm-late")
    told(world, other, order_id, "failed", error="no machine")
    assert machines(world) == [("failed", None), ("provisioning", "vm-late")]

    lapse(world, 31 * 60)  # no agent registered from it

    assert machines(world) == [("failed", None), ("failed", "vm-late")]
    world.clock.now += timedelta(minutes=11)
    assert not claim(world, other)["claimed"]


# --- attestation -----------------------------------------------------------------------------------


def test_where_attestation_is_required_the_workers_word_only_ends_provisioning(world: World, worker: str) -> None:
    order_id = claimed(world, worker, GCP.model_copy(update={"attestation": Attestation.REQUIRED}))
    told(world, worker, order_id, "provisioning")
    order = told(world, worker, order_id, "fulfilled", vm_name="vm-1")
    assert (order["status"], order["vm_name"], order["fulfilled_at"]) == ("provisioning", "vm-1", None)
    assert world.order(order_id).state is State.PROVISIONING


# --- lists -----------------------------------------------------------------------------------------


def listed(world: World, query: str = "", key: str = ADMIN) -> list[str]:
    answer = world.get(f"/api/v1/admin/agents/capacity/orders{query}", key)
    assert answer.status_code == 200, answer.text
    body = answer.get_json()
    assert body["total"] >= len(body["orders"])
    return [order["order_id"] for order in body["orders"]]


def test_the_operators_list_is_of_all_accounts_from_the_oldest_on(world: World, worker: str) -> None:
    placed = [place(world), place(world, RACK), place(world)]
    world.place()
    assert listed(world) == placed
    (order, *_) = world.get("/api/v1/admin/agents/capacity/orders", ADMIN).get_json()["orders"]
    assert set(order) == FIELDS


def test_lists_are_filtered_after_trimming_and_in_lower_case_without_aliases(world: World, worker: str) -> None:
    gcp, rack = place(world), place(world, RACK)
    told(world, worker, claim(world, worker)["order"]["order_id"], "fulfilled")
    assert listed(world, "?status=Fulfilled%20") == [gcp]
    assert listed(world, "?status=open") == [rack]
    assert listed(world, "?status=failed") == []
    assert listed(world, "?datacenter=%20BAREMETAL:rack-7") == [rack]
    assert listed(world, "?datacenter=google:us-central1-a") == []
    assert listed(world, "?node_size=TINY&datacenter=gcp:us-central1-a&status=fulfilled") == [gcp]
    assert listed(world, "?status=&datacenter=&node_size=&more=1") == [gcp, rack]


def test_a_status_filter_that_is_none_is_refused(world: World) -> None:
    answer = world.get("/api/v1/admin/agents/capacity/orders?status=queued", ADMIN)
    assert refused(answer, 422) == "Invalid launch order status filter"


def test_a_list_can_be_had_in_pages_and_always_says_how_many_there_are(world: World) -> None:
    placed = [place(world) for _ in range(3)]
    first = world.get("/api/v1/admin/agents/capacity/orders?limit=2", ADMIN).get_json()
    rest = world.get(f"/api/v1/admin/agents/capacity/orders?limit=2&after={first['next']}", ADMIN).get_json()
    assert [order["order_id"] for order in first["orders"] + rest["orders"]] == placed
    assert (first["total"], rest["total"], rest["next"]) == (3, 3, None)


def test_an_account_lists_its_own_orders_and_no_others(world: World) -> None:
    account, key = world.admit(AccountType.DEPLOYER)
    own = world.place(GCP, key)["id"]
    place(world)
    path = f"/api/v1/accounts/{account}/capacity/orders"
    assert [order["order_id"] for order in world.get(path, key).get_json()["orders"]] == [own]
    assert world.get(f"{path}?status=failed", key).get_json() == {"orders": [], "total": 0, "next": None}
    stranger = world.admit(AccountType.CONTRIBUTOR)[1]
    assert refused(world.get(path, stranger), 403) == "Cannot access other account orders"


def test_an_order_that_no_account_asked_for_has_none(world: World) -> None:
    world.app.keys.add(ApiKey(digest("ly_nobody"), Role.CLIENT, NOBODY))
    world.place(GCP, "ly_nobody")
    (order,) = world.get("/api/v1/admin/agents/capacity/orders", ADMIN).get_json()["orders"]
    assert order["account_id"] is None


# --- the paths themselves ---------------------------------------------------------------------------


def test_what_is_not_there_is_answered_in_the_contracts_shape_and_by_no_redirect(world: World, worker: str) -> None:
    assert refused(world.get("/api/v1/nothing", worker), 404) == "Not Found"
    assert refused(world.post(f"{CLAIM}/", {}, worker), 404)
    assert refused(world.get(CLAIM, worker), 405) == "Method Not Allowed"
    assert refused(world.post("/api/v1//launchers/capacity/orders/claim", {}, worker), 404) == "Not Found"
    assert world.http.post(CLAIM, data=b"{", headers={"Authorization": f"Bearer {worker}"}).status_code == 422
