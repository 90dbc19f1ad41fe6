"""Lists of the contract's orders, section 5, and paths that are not there."""

from functions.domain.access import ApiKey, Role, digest
from functions.domain.accounts import NOBODY, AccountType
from tests.functions.capacity.orders import CLAIM, FIELDS, GCP, RACK, claim, place, refused, reported
from tests.functions.world import ADMIN, World


def listed(world: World, query: str = "", key: str = ADMIN) -> list[str]:
    answer = world.get(f"/api/v1/admin/agents/capacity/orders{query}", key)
    assert answer.status_code == 200, answer.text
    body = answer.get_json()
    assert body["total"] >= len(body["orders"])
    return [order["order_id"] for order in body["orders"]]


def test_the_operators_list_has_the_orders_of_all_accounts_oldest_first(world: World, worker: str) -> None:
    placed = [place(world), place(world, RACK), place(world)]
    world.place()
    assert listed(world) == placed
    (order, *_) = world.get("/api/v1/admin/agents/capacity/orders", ADMIN).get_json()["orders"]
    assert set(order) == FIELDS


def test_lists_are_filtered_after_trimming_and_in_lower_case_without_aliases(world: World, worker: str) -> None:
    gcp, rack = place(world), place(world, RACK)
    reported(world, worker, claim(world, worker)["order"]["order_id"], "fulfilled")
    assert listed(world, "?status=Fulfilled%20") == [gcp]
    assert listed(world, "?status=open") == [rack]
    assert listed(world, "?status=failed") == []
    assert listed(world, "?datacenter=%20BAREMETAL:rack-7") == [rack]
    assert listed(world, "?datacenter=google:us-central1-a") == []
    assert listed(world, "?node_size=TINY&datacenter=gcp:us-central1-a&status=fulfilled") == [gcp]
    assert listed(world, "?status=&datacenter=&node_size=&more=1") == [gcp, rack]


def test_an_unknown_status_filter_is_refused(world: World) -> None:
    answer = world.get("/api/v1/admin/agents/capacity/orders?status=queued", ADMIN)
    assert refused(answer, 422) == "Invalid launch order status filter"


def test_a_list_has_pages_and_each_page_counts_all(world: World) -> None:
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
    world.ports.keys.add(ApiKey(digest("ly_nobody"), Role.CLIENT, NOBODY))
    world.place(GCP, "ly_nobody")
    (order,) = world.get("/api/v1/admin/agents/capacity/orders", ADMIN).get_json()["orders"]
    assert order["account_id"] is None


def test_an_unknown_path_is_answered_in_the_contracts_form_without_a_redirect(world: World, worker: str) -> None:
    assert refused(world.get("/api/v1/nothing", worker), 404) == "Not Found"
    assert refused(world.post(f"{CLAIM}/", {}, worker), 404)
    assert refused(world.get(CLAIM, worker), 405) == "Method Not Allowed"
    assert refused(world.post("/api/v1//launchers/capacity/orders/claim", {}, worker), 404) == "Not Found"
    assert world.http.post(CLAIM, data=b"{", headers={"Authorization": f"Bearer {worker}"}).status_code == 422
