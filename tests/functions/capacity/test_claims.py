"""Claims of the contract's workers, section 4, and who may send them."""

import pytest

from functions.domain.access import ApiKey, Role, digest
from functions.domain.accounts import AccountType
from functions.domain.refusals import Unavailable
from tests.functions.capacity.accounts import configure
from tests.functions.capacity.orders import (
    CLAIM,
    FIELDS,
    GCP,
    RACK,
    claim,
    claimed,
    place,
    refused,
    report,
)
from tests.functions.world import CLIENT, World
from tests.meanwhile import Failing


def test_a_claim_answers_with_the_order_for_ten_minutes_and_a_bootstrap_token(world: World) -> None:
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


def test_a_claim_is_valid_for_at_least_30_seconds(world: World, worker: str) -> None:
    configure(world, claim_ttl_seconds=1.0)
    place(world)

    assert claim(world, worker)["order"]["claim_expires_at"] == "2026-11-22T12:00:31Z"


def test_a_claim_that_finds_no_order_is_answered_200(world: World, worker: str) -> None:
    assert claim(world, worker) == {"claimed": False, "order": None, "bootstrap_token": None}


def test_a_claim_gets_the_oldest_order_first(world: World, worker: str) -> None:
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
def test_an_invalid_datacenter_is_refused(world: World, worker: str, datacenter: str) -> None:
    detail = refused(world.post(CLAIM, {"datacenter": datacenter}, worker), 422)
    assert detail.startswith("Invalid datacenter. Expected '<cloud>:<zone>'")


def test_an_invalid_size_is_refused(world: World, worker: str) -> None:
    detail = refused(world.post(CLAIM, {"node_size": "huge"}, worker), 422)
    assert detail == "Invalid node_size. Expected one of: tiny, standard, llm"


def test_a_mistyped_field_is_named(world: World, worker: str) -> None:
    answer = world.post(CLAIM, {"node_size": 7}, worker)
    assert answer.status_code == 422
    assert answer.get_json()["detail"] == [
        {"type": "string_type", "loc": ["body", "node_size"], "msg": "Input should be a valid string"}
    ]


def test_a_claim_finds_nothing_if_the_store_does_not_answer_because_an_error_would_end_the_worker(
    world: World, worker: str, failing: Failing
) -> None:
    failing(world.ports.oldest_first, "next", Unavailable("The order store does not answer."))
    assert claim(world, worker)["claimed"] is False


def test_a_claim_whose_key_cannot_be_looked_up_finds_nothing_because_an_error_would_end_the_worker(
    world: World, worker: str, failing: Failing
) -> None:
    order_id = claimed(world, worker)
    failing(world.ports.keys, "find", Unavailable("The order store does not answer."))
    assert claim(world, worker) == {"claimed": False, "order": None, "bootstrap_token": None}
    refused(report(world, worker, order_id, "provisioning"), 503)


def test_an_account_that_is_limited_to_some_datacenters_gets_no_other_order(world: World) -> None:
    world.ports.keys.add(ApiKey(digest("ee_live_kept"), Role.LAUNCHER, "kept", datacenters=("baremetal",)))
    place(world, GCP)
    rack = place(world, RACK)
    assert claim(world, "ee_live_kept", datacenter="gcp:us-central1-a")["claimed"] is False
    assert claim(world, "ee_live_kept")["order"]["order_id"] == rack
    assert claim(world, "ee_live_kept")["claimed"] is False


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
def test_a_request_without_a_valid_key_is_refused_with_the_contracts_texts(
    world: World, header: str | None, detail: str
) -> None:
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
def test_a_caller_that_is_not_an_operator_is_refused_with_the_contracts_texts(
    world: World, header: str | None, detail: str
) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = world.http.get("/api/v1/admin/agents/capacity/orders", headers=headers)
    assert refused(answer, 401) == detail
