"""Accounts that nobody vouched for are limited, expire, and hide no other account from the operator."""

from datetime import timedelta
from typing import Final

import pytest
from google.cloud.firestore import Client

from functions.adapters.firestore_keys import FirestoreKeyStore
from functions.adapters.records import FirestoreRecords
from functions.domain.access import ApiKey, digest
from functions.domain.accounts import UNCONFIRMED_TTL, Account, AccountType
from functions.engine.accounts import Accounts
from functions.http.authentication import CachedKeys
from tests.contract.conftest import MEMORY_AND_FIRESTORE
from tests.functions.capacity.accounts import PATH, answered, configure, create, detail, enrol, reshape, stored
from tests.functions.world import ADMIN, KEYS, World

MANY: Final = 10_050
"""More than any list reads at once."""
A_MOMENT: Final = timedelta(seconds=1)


@pytest.fixture(params=MEMORY_AND_FIRESTORE)
def stores(request: pytest.FixtureRequest, world: World) -> None:
    """Have the accounts and keys in each of the stores."""
    if request.param == "firestore":
        client: Client = request.getfixturevalue("firestore_client")
        keys = FirestoreKeyStore(client)
        for key in KEYS:
            keys.add(key)
        reshape(world, keys=CachedKeys(keys), accounts=FirestoreRecords(client, "accounts", Account))


def sign_up(world: World, name: str, status: int = 200) -> str:
    """Create a contributor's account without a credential, and return its key."""
    answer = world.post(PATH, {"name": name, "account_type": "contributor"}, "")
    assert answer.status_code == status, answer.text
    return str(answer.get_json().get("api_key"))


def limit(world: World, a_minute: int = 60, unconfirmed: int = 1000) -> None:
    reshape(world, signups_a_minute=a_minute, max_unconfirmed=unconfirmed)


# --- lists ------------------------------------------------------------------------------------------------------------


def test_no_number_of_other_accounts_hides_a_launchers(world: World) -> None:
    for number in range(MANY):
        name = f"contributor-{number}"
        account = Account(str(number), name, AccountType.CONTRIBUTOR, "", "0" * 64, world.clock.now)
        world.ports.accounts.add(name, account)
    world.clock.now += A_MOMENT
    names = [f"rack-{number}" for number in range(20)]
    for name in names:
        create(world, name)

    listed = answered(world.get(f"{PATH}?account_type=launcher", ADMIN))

    assert (sorted(account["name"] for account in listed["accounts"]), listed["total"]) == (sorted(names), 20)
    assert "next" not in listed
    found = answered(world.get(f"{PATH}?name=RACK-19", ADMIN))
    assert ([account["name"] for account in found["accounts"]], found["total"]) == (["rack-19"], 1)
    assert answered(world.get(PATH, ADMIN))["total"] == MANY + 20


@pytest.mark.usefixtures("stores")
@pytest.mark.parametrize("query", ["", "account_type=launcher", "name=rack", "name=RACK&account_type=launcher"])
def test_a_list_of_accounts_goes_on_where_a_page_ended_and_its_total_counts_all(world: World, query: str) -> None:
    names = [f"rack-{number}" for number in range(5)]
    for name in names:
        create(world, name)
        world.clock.now += A_MOMENT
    read, after = list[str](), ""
    for _ in range(3):
        page = answered(world.get(f"{PATH}?limit=2{after}&{query}", ADMIN))
        assert page["total"] == 5
        read += [account["name"] for account in page["accounts"]]
        after = f"&after={page.get('next')}"

    assert read == names
    assert "next" not in page
    assert world.get(f"{PATH}?{query}&after=not%20ours", ADMIN).status_code == 422


@pytest.mark.usefixtures("stores")
@pytest.mark.parametrize("query", ["", "name=rack"])
def test_a_list_goes_on_although_the_account_at_the_end_of_its_page_was_deleted(world: World, query: str) -> None:
    for number in range(4):
        create(world, f"rack-{number}")
        world.clock.now += A_MOMENT
    page = answered(world.get(f"{PATH}?limit=2&{query}", ADMIN))
    for account in page["accounts"]:
        assert world.delete(f"{PATH}/{account['account_id']}", ADMIN).status_code == 200

    rest = answered(world.get(f"{PATH}?limit=2&{query}&after={page['next']}", ADMIN))

    assert ([account["name"] for account in rest["accounts"]], rest["total"]) == (["rack-2", "rack-3"], 2)


# --- limits -----------------------------------------------------------------------------------------------------------


def test_signups_without_an_operators_consent_are_limited_by_the_minute(world: World) -> None:
    limit(world, a_minute=3)
    for number in range(3):
        sign_up(world, f"a-{number}")
    refused = world.post(PATH, {"name": "b", "account_type": "contributor"}, "nonsense")

    assert "(quota: signups)" in detail(refused, 429)
    assert refused.headers["Retry-After"] == "20"
    create(world, "operators", "contributor", ADMIN)
    create(world, "enrolled", key=enrol(world))
    world.clock.now += timedelta(seconds=20)
    sign_up(world, "c")
    sign_up(world, "d", 429)


def test_open_signup_is_limited_too(world: World) -> None:
    configure(world, open_signup=True)
    limit(world, a_minute=1)
    create(world, "a", "deployer", key="")
    create(world, "b", "launcher", key="", status=429)


def test_asking_whether_names_are_taken_is_limited(world: World) -> None:
    create(world, "tenant", "deployer")
    limit(world, a_minute=2)
    assert [world.post(PATH, {"name": "tenant", "account_type": "contributor"}, "").status_code for _ in range(4)] == [
        *(409, 409),
        *(429, 429),
    ]


@pytest.mark.usefixtures("stores")
def test_there_are_only_so_many_unconfirmed_accounts(world: World) -> None:
    limit(world, unconfirmed=2)
    for name in ("a", "b"):
        sign_up(world, name)
    sign_up(world, "c", 429)
    create(world, "d", "contributor", ADMIN)


# --- expiry -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("stores")
def test_an_account_that_nobody_vouched_for_goes_if_its_key_is_never_used(world: World) -> None:
    unused, used = sign_up(world, "unused"), sign_up(world, "used")
    vouched = create(world, "vouched", "contributor", ADMIN)["api_key"]
    assert world.get(f"{PATH}/another", used).status_code == 403

    world.clock.now += UNCONFIRMED_TTL - A_MOMENT
    world.sweep()
    assert answered(world.get(PATH, ADMIN))["total"] == 3
    world.clock.now += A_MOMENT
    world.sweep()

    left = [account["name"] for account in answered(world.get(PATH, ADMIN))["accounts"]]
    assert sorted(left) == ["used", "vouched"]
    assert [world.get(f"{PATH}/another", key).status_code for key in (unused, used, vouched)] == [401, 403, 403]
    assert world.ports.accounts.count({"unconfirmed": True}) == 0


def test_only_the_first_use_of_a_key_is_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    key, written = sign_up(world, "a"), list[str]()
    keys = world.ports.keys
    mark_used = keys.mark_used

    def noted(key_digest: str) -> None:
        written.append(key_digest)
        mark_used(key_digest)

    monkeypatch.setattr(keys, "mark_used", noted)
    for _ in range(3):
        world.get(f"{PATH}/another", key)
    assert written == [digest(key)]


def test_a_new_key_from_an_operator_confirms_an_account(world: World) -> None:
    sign_up(world, "a")
    (account,) = answered(world.get(PATH, ADMIN))["accounts"]
    key = answered(world.post(f"{PATH}/{account['account_id']}/api-key/rotate", key=ADMIN))["api_key"]
    assert stored(world, account["account_id"])["unconfirmed"] is False

    world.clock.now += UNCONFIRMED_TTL
    world.service(Accounts).settle_unconfirmed(100)

    assert world.get(f"{PATH}/another", key).status_code == 403


def test_every_key_of_an_account_can_be_revoked_at_once(world: World) -> None:
    """Instances remember keys that cannot: no account has one."""
    created = create(world, "rack")
    account = stored(world, created["account_id"])
    rotated = answered(world.post(f"{PATH}/{created['account_id']}/api-key/rotate", key=ADMIN))["api_key"]
    found: ApiKey | None = world.ports.keys.find(digest(rotated))
    assert found is not None
    assert (found.revocable, account["datacenters"]) == (True, ("*", "any"))
