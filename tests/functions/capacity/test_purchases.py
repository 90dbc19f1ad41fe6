"""Purchases, section 5: a deployer's own pool target."""

from uuid import UUID

import pytest

from functions.domain.access import ApiKey, Role, digest
from functions.domain.accounts import NOBODY, AccountType
from shared.domain.spec import Attestation
from tests.functions.capacity.accounts import reshape
from tests.functions.capacity.pools import POOL, TARGETS, aim, alive, answer, buy, listed, orders, put, refused, swept
from tests.functions.world import ADMIN, World
from tests.meanwhile import Meanwhile
from tests.threads import at_once


def test_a_purchase_sets_the_target_orders_missing_machines_and_charges_nothing(world: World) -> None:
    account, key = world.admit(AccountType.DEPLOYER)
    bought = answer(buy(world, account, key, datacenter="onprem:rack-7"))

    assert bought["request_id"].startswith("capacity-")
    assert len(bytes.fromhex(bought["request_id"].removeprefix("capacity-"))) == 8
    assert bought["transaction_id"].startswith("sim-")
    assert UUID(bought["transaction_id"].removeprefix("sim-"))
    assert (bought["charged_amount_usd"], bought["balance_after"]) == (25.0, 0.0)
    target = bought["target"]
    assert (target["account_id"], target["datacenter"], target["node_size"]) == (account, "baremetal:rack-7", "tiny")
    assert (target["min_warm_count"], target["reason"], target["dispatch"]) == (1, "capacity-purchase", True)
    assert (target["open_reservations"], target["shortfall"]) == (1, 1)
    assert bought["capacity"]["total_shortfall"] == 1
    assert bought["capacity"]["dispatches"][0]["status_code"] == 202
    (order,) = orders(world)
    assert order.account == account
    mine = answer(world.get(f"/api/v1/accounts/{account}/capacity/orders", key))["orders"]
    assert [(one["order_id"], one["account_id"], one["reason"]) for one in mine] == [
        (order.id, account, "capacity-purchase")
    ]


@pytest.mark.parametrize(
    ("size", "count", "months", "usd"), [("tiny", 2, 3, 150.0), ("standard", 1, 2, 200.0), ("llm", 3, 1, 1500.0)]
)
def test_a_purchase_costs_its_size_by_count_and_months(
    world: World, size: str, count: int, months: int, usd: float
) -> None:
    account, key = world.admit(AccountType.DEPLOYER)
    body = {"datacenter": "gcp:a", "node_size": size, "min_warm_count": count, "months": months}
    bought = answer(buy(world, account, key, **body))
    assert bought["charged_amount_usd"] == usd
    assert len(orders(world)) == count


def test_the_same_purchase_twice_is_one_target_and_no_more_orders(world: World) -> None:
    account, key = world.admit(AccountType.DEPLOYER)
    at_once([lambda: buy(world, account, key, datacenter="gcp:a", min_warm_count=3)] * 4)
    answer(buy(world, account, key, datacenter="gcp:a", min_warm_count=3))
    assert len(orders(world)) == 3
    assert [target["account_id"] for target in listed(world)] == [account]


def test_a_purchase_that_the_accounts_deletion_overtakes_orders_nothing(world: World, meanwhile: Meanwhile) -> None:
    account, key = world.admit(AccountType.DEPLOYER)
    meanwhile(world.ports.pools, "upsert", lambda: answer(world.delete(f"/api/v1/accounts/{account}", key)))

    assert refused(buy(world, account, key, **POOL), 404) == "Account not found"
    world.sweep()
    assert (listed(world), orders(world)) == ([], [])


def test_a_purchase_in_the_midst_of_the_accounts_deletion_is_given_up_with_it(
    world: World, meanwhile: Meanwhile
) -> None:
    account, key = world.admit(AccountType.DEPLOYER)
    bought = list[int]()

    def buy_meanwhile() -> None:
        _, another = world.admit(AccountType.DEPLOYER)
        world.ports.keys.add(ApiKey(digest(another), Role.CLIENT, account, revocable=True))  # that was checked before
        bought.append(buy(world, account, another, **POOL).status_code)

    meanwhile(world.ports.accounts, "take", buy_meanwhile)

    answer(world.delete(f"/api/v1/accounts/{account}", key))

    assert bought == [200]
    assert (listed(world), alive(world)) == ([], [])


def test_two_accounts_have_two_pools_of_one_datacenter_and_size(world: World) -> None:
    aim(world, 1)
    swept(world)
    account, key = world.admit(AccountType.DEPLOYER)
    answer(buy(world, account, key, **POOL))
    assert sorted(order.account for order in orders(world)) == sorted([NOBODY, account])
    path = f"{TARGETS}?datacenter=gcp:us-central1-a&node_size=tiny&account_id={account}"
    assert answer(world.delete(path, ADMIN))["account_id"] == account
    assert [order.account for order in alive(world)] == [NOBODY]


def test_capacity_is_for_deployers_and_for_their_own_account(world: World) -> None:
    account, key = world.admit(AccountType.DEPLOYER)
    for account_type in (AccountType.LAUNCHER, AccountType.AGENT, AccountType.CONTRIBUTOR):
        other, wrong = world.admit(account_type)
        assert refused(buy(world, other, wrong, datacenter="gcp:a"), 403) == "Deployer API key required"
    _, another = world.admit(AccountType.DEPLOYER)
    detail = refused(buy(world, account, another, datacenter="gcp:a"), 403)
    assert detail == "Cannot request capacity for other accounts"
    assert refused(buy(world, account, "", datacenter="gcp:a"), 401) == "Missing Authorization header"
    assert refused(buy(world, account, "ee_live_x", datacenter="gcp:a"), 401) == "Invalid API key"
    assert refused(buy(world, "no id!", key, datacenter="gcp:a"), 404) == "Account not found"
    assert orders(world) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("min_warm_count", 0),
        ("min_warm_count", 1_000_000),
        ("months", 0),
        ("months", 1_000_000),
        ("reason", "x" * 201),
        ("datacenter", None),
        ("node_size", 7),
    ],
)
def test_a_wrong_purchase_is_refused_by_its_fields_name(world: World, field: str, value: object) -> None:
    account, key = world.admit(AccountType.DEPLOYER)
    body = {"datacenter": "gcp:a", field: value}
    (wrong,) = refused(buy(world, account, key, **body), 422)
    assert wrong["loc"] == ["body", field]


def test_a_purchase_without_a_size_or_datacenter_is_refused(world: World) -> None:
    account, key = world.admit(AccountType.DEPLOYER)
    assert refused(buy(world, account, key, datacenter="gcp:a", node_size=""), 422) == (
        "Invalid node_size. Expected one of: tiny, standard, llm"
    )
    assert refused(buy(world, account, key, datacenter="!"), 422).startswith("Invalid datacenter.")
    assert refused(buy(world, account, key), 422)[0]["loc"] == ["body", "datacenter"]


def test_an_account_has_at_most_100_pools(world: World) -> None:
    account, key = world.admit(AccountType.DEPLOYER)
    for number in range(100):
        answer(buy(world, account, key, datacenter=f"gcp:zone-{number}"))
    assert "at most 100 pools" in refused(buy(world, account, key, datacenter="gcp:one-more"), 422)
    answer(buy(world, account, key, datacenter="gcp:zone-7", min_warm_count=2))


def test_the_longest_name_of_a_datacenter_is_one_that_can_be_ordered_for(world: World) -> None:
    account, key = world.admit(AccountType.DEPLOYER)
    answer(buy(world, account, key, datacenter=f"{'c' * 32}:{'z' * 96}"))
    assert len(orders(world)) == 1


def test_pools_demand_the_deployments_attestation_by_default(world: World) -> None:
    reshape(world, attestation=Attestation.REQUIRED)
    account, key = world.admit(AccountType.DEPLOYER)
    assert answer(buy(world, account, key, datacenter="gcp:a"))["target"]["attestation"] == "required"
    assert answer(put(world, POOL))["attestation"] == "required"
    assert answer(put(world, {**POOL, "attestation": "optional"}))["attestation"] == "optional"
