"""An account's own routes, and the operators' list: section 2 of the capacity contract."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from werkzeug.test import TestResponse

from functions.domain.access import digest
from functions.domain.accounts import Account, AccountType
from functions.domain.pools import Pool
from tests.factories import NOW
from tests.functions.capacity.accounts import PATH, alive, answered, create, detail, note_keys, stored
from tests.functions.world import ADMIN, CLIENT, PASSWORD, World
from tests.meanwhile import Meanwhile

FORM = "Invalid Authorization header format. Expected: Bearer <api_key>"


class Died(Exception):
    """The process ended here."""


def a_pool(account_id: str, pool_id: str = "pool-1") -> Pool:
    return Pool(pool_id, account_id, "gcp:us-central1-a", "tiny", 1, "", NOW, NOW)


def rotate(world: World, account_id: str, key: str) -> TestResponse:
    return world.post(f"{PATH}/{account_id}/api-key/rotate", key=key)


def works(world: World, account_id: str, key: str) -> bool:
    response = world.get(f"{PATH}/{account_id}", key)
    if response.status_code == 200:
        return True
    assert detail(response, 401) == "Invalid API key"
    return False


def routes(world: World, account_id: str) -> dict[str, Callable[[str], TestResponse]]:
    """Return an account's routes, by what they do."""
    return {
        "view": partial(world.get, f"{PATH}/{account_id}"),
        "rotate API keys for": partial(rotate, world, account_id),
        "delete": partial(world.delete, f"{PATH}/{account_id}"),
    }


def session(world: World) -> str:
    token: str = answered(world.post("/admin/login", {"password": PASSWORD}, ""))["token"]
    return token


# --- whose an account is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("doing", ["view", "rotate API keys for", "delete"])
def test_an_account_is_not_another_accounts(world: World, doing: str) -> None:
    mine, theirs = create(world, "mine"), create(world, "theirs")
    for account_id in (theirs["account_id"], str(uuid4())):
        call = routes(world, account_id)[doing]
        assert detail(call(mine["api_key"]), 403) == f"Cannot {doing} other accounts"
        assert detail(call(CLIENT), 403) == f"Cannot {doing} other accounts"
    assert works(world, theirs["account_id"], theirs["api_key"])


@pytest.mark.parametrize("doing", ["view", "rotate API keys for", "delete"])
def test_no_key_or_a_bad_one_is_refused_in_the_contracts_words(world: World, doing: str) -> None:
    account_id = create(world, "mine")["account_id"]
    call = routes(world, account_id)[doing]
    assert detail(call(""), 401) == "Missing Authorization header"
    assert detail(call("a b"), 401) == FORM
    assert detail(call("ee_live_" + "x" * 32), 401) == "Invalid API key"
    assert detail(call("ee_session_x"), 401) == "Invalid session token"


@pytest.mark.parametrize("doing", ["view", "rotate API keys for", "delete"])
@pytest.mark.parametrize("account_id", [str(uuid4()), "x", "%00", "é", "x" * 200, "a%2Fb"])
def test_an_unknown_account_is_not_found(world: World, doing: str, account_id: str) -> None:
    response = routes(world, account_id)[doing](ADMIN)
    assert detail(response, 404) in ("Account not found", "Not Found")


@pytest.mark.parametrize("key", ["an admin's", "a session"])
def test_operators_may_do_for_an_account_what_its_key_may(world: World, key: str) -> None:
    """So that a key that was lost, or has leaked, does not stand for ever."""
    mine = create(world, "mine")
    token = ADMIN if key == "an admin's" else session(world)
    assert answered(world.get(f"{PATH}/{mine['account_id']}", token))["name"] == "mine"
    fresh = answered(rotate(world, mine["account_id"], token))["api_key"]
    assert not works(world, mine["account_id"], mine["api_key"])
    assert works(world, mine["account_id"], fresh)
    answered(world.delete(f"{PATH}/{mine['account_id']}", token))
    assert not works(world, mine["account_id"], fresh)
    assert detail(world.delete(f"{PATH}/{mine['account_id']}", token), 404) == "Account not found"


# --- GET /api/v1/accounts/{account_id} --------------------------------------------------------------------------------


def test_an_account_is_read_without_its_key(world: World) -> None:
    created = create(world, "rack-7", description="left")
    shown = answered(world.get(f"{PATH}/{created['account_id']}", created["api_key"]))
    assert shown == {
        "account_id": created["account_id"],
        "name": "rack-7",
        "description": "left",
        "account_type": "launcher",
        "balance": 0.0,
        "created_at": created["created_at"],
        "github_login": None,
        "github_org": None,
    }


# --- rotation ---------------------------------------------------------------------------------------------------------


def test_the_old_key_is_dead_at_once_and_the_new_one_is_good(world: World) -> None:
    created = create(world, "rack-7")
    account_id, old = created["account_id"], created["api_key"]
    assert works(world, account_id, old)
    world.clock.now += timedelta(minutes=1)

    answer = answered(rotate(world, account_id, old))

    assert {**answer, "api_key": "", "warning": ""} == {
        "account_id": account_id,
        "api_key": "",
        "rotated_at": world.clock.now.isoformat().replace("+00:00", "Z"),
        "warning": "",
    }
    assert answer["api_key"].startswith("ee_live_")
    assert len(answer["api_key"]) == 40
    assert "not shown again" in answer["warning"]
    assert not works(world, account_id, old)
    assert works(world, account_id, answer["api_key"])
    assert detail(rotate(world, account_id, old), 401) == "Invalid API key"


def test_of_many_keys_one_after_the_other_the_last_is_good_and_little_is_kept(world: World) -> None:
    created = create(world, "rack-7")
    keys = [created["api_key"]]
    for _ in range(5):
        keys.append(answered(rotate(world, created["account_id"], keys[-1]))["api_key"])
    assert [works(world, created["account_id"], key) for key in keys] == [False] * 5 + [True]
    assert stored(world, created["account_id"])["retired"] == (digest(keys[-2]),)


def test_a_rotation_that_died_before_it_withdrew_the_old_key_is_completed_by_the_next(
    world: World, meanwhile: Meanwhile
) -> None:
    keys = note_keys(world)
    created = create(world, "rack-7")
    account_id, old = created["account_id"], created["api_key"]
    meanwhile(world.ports.keys, "remove", die)
    assert rotate(world, account_id, old).status_code == 500

    fresh = answered(rotate(world, account_id, old))["api_key"]

    assert not works(world, account_id, old)
    assert works(world, account_id, fresh)
    assert len(keys) == 3
    assert alive(world, keys) == [fresh]


def test_a_rotation_that_died_while_another_was_under_way_is_completed_by_that_one(
    world: World, meanwhile: Meanwhile
) -> None:
    keys = note_keys(world)
    created = create(world, "rack-7")

    def another_dies() -> None:
        meanwhile(world.ports.keys, "remove", die)
        assert rotate(world, created["account_id"], created["api_key"]).status_code == 500

    meanwhile(world.ports.accounts, "change", another_dies)
    fresh = answered(rotate(world, created["account_id"], created["api_key"]))["api_key"]
    assert len(keys) == 3
    assert alive(world, keys) == [fresh]


def test_a_rotation_whose_commits_answer_was_lost_does_not_withdraw_its_own_key(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = note_keys(world)
    created = create(world, "rack-7")
    accounts = world.ports.accounts
    once = accounts.change

    def twice(id_: str, change: Callable[[Account], Account]) -> Account:
        once(id_, change)
        return once(id_, change)

    monkeypatch.setattr(accounts, "change", twice)
    fresh = answered(rotate(world, created["account_id"], created["api_key"]))["api_key"]
    assert alive(world, keys) == [fresh]


@pytest.mark.parametrize("reborn", [False, True])
def test_a_rotation_that_a_deletion_overtakes_leaves_no_key(world: World, meanwhile: Meanwhile, reborn: bool) -> None:
    """Also if another account gets the name meanwhile: that one is left alone."""
    keys = note_keys(world)
    created = create(world, "rack-7")
    others = list[dict[str, Any]]()

    def delete_it() -> None:
        answered(world.delete(f"{PATH}/{created['account_id']}", ADMIN))
        if reborn:
            others.append(create(world, "rack-7"))

    meanwhile(world.ports.accounts, "change", delete_it)

    assert detail(rotate(world, created["account_id"], created["api_key"]), 404) == "Account not found"

    assert alive(world, keys) == [other["api_key"] for other in others]
    assert [works(world, other["account_id"], other["api_key"]) for other in others] == [True] * reborn


# --- deletion ---------------------------------------------------------------------------------------------------------


def test_a_deleted_account_is_gone_with_its_key_and_its_name_and_its_pools_are_given_up(world: World) -> None:
    created, other = create(world, "rack-7", "deployer"), create(world, "other", "deployer")
    pools = world.ports.pools
    for number, account in enumerate([created, created, other]):
        pools.add(f"pool-{number}", a_pool(account["account_id"], f"pool-{number}"))

    answer = answered(world.delete(f"{PATH}/{created['account_id']}", created["api_key"]))

    assert answer == {"status": "deleted", "account_id": created["account_id"]}
    assert not works(world, created["account_id"], created["api_key"])
    assert detail(world.get(f"{PATH}/{created['account_id']}", ADMIN), 404) == "Account not found"
    assert [pool.account for pool in pools.all(10) if pool.standing] == [other["account_id"]]
    assert create(world, "rack-7")["account_id"] != created["account_id"]


def test_a_deletion_that_died_halfway_leaves_no_valid_key_and_is_finished_by_an_operator(
    world: World, meanwhile: Meanwhile
) -> None:
    created = create(world, "rack-7")
    meanwhile(world.ports.accounts, "take", die)
    assert world.delete(f"{PATH}/{created['account_id']}", created["api_key"]).status_code == 500
    assert not works(world, created["account_id"], created["api_key"])
    answered(world.delete(f"{PATH}/{created['account_id']}", ADMIN))
    create(world, "rack-7")


def test_a_deletion_that_died_after_the_account_was_removed_has_given_up_its_pools(
    world: World, meanwhile: Meanwhile
) -> None:
    """An account that is removed cannot be deleted again, so nothing would give them up later."""
    created = create(world, "rack-7", "deployer")
    world.ports.pools.add("pool-1", a_pool(created["account_id"]))
    meanwhile(world.ports.accounts, "take", die, after=True)

    assert world.delete(f"{PATH}/{created['account_id']}", created["api_key"]).status_code == 500

    assert [pool.standing for pool in world.ports.pools.all(10)] == [False]


@pytest.mark.parametrize("another", ["rotates", "deletes", "deletes and creates"])
def test_a_deletion_that_another_request_overtakes_ends_that_account_and_no_other(
    world: World, meanwhile: Meanwhile, another: str
) -> None:
    keys = note_keys(world)
    created = create(world, "rack-7")
    others = list[dict[str, Any]]()

    def overtake() -> None:
        if another == "rotates":
            answered(rotate(world, created["account_id"], ADMIN))
        else:
            answered(world.delete(f"{PATH}/{created['account_id']}", ADMIN))
        if another == "deletes and creates":
            others.append(create(world, "rack-7"))

    meanwhile(world.ports.pools, "find_every", overtake)

    answered(world.delete(f"{PATH}/{created['account_id']}", created["api_key"]))

    assert alive(world, keys) == [other["api_key"] for other in others]
    assert [works(world, other["account_id"], other["api_key"]) for other in others] == [True] * len(others)
    assert answered(world.get(PATH, ADMIN))["total"] == len(others)


# --- GET /api/v1/accounts ---------------------------------------------------------------------------------------------


def test_operators_list_all_accounts_oldest_first_without_their_keys(world: World) -> None:
    names = ["rack-7", "Rack-8", "acme"]
    for name, account_type in zip(
        names, [AccountType.LAUNCHER, AccountType.LAUNCHER, AccountType.DEPLOYER], strict=True
    ):
        create(world, name, account_type)
        world.clock.now += timedelta(seconds=1)

    listed = answered(world.get(PATH, ADMIN))

    assert listed["total"] == 3
    assert [account["name"] for account in listed["accounts"]] == names
    assert listed["accounts"][0] == answered(world.get(f"{PATH}/{listed['accounts'][0]['account_id']}", ADMIN))
    assert "api_key" not in listed["accounts"][0]
    assert answered(world.get(PATH, session(world))) == listed


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["acme", "rack-7", "Rack-8"]),
        ("name=&account_type=", ["acme", "rack-7", "Rack-8"]),
        ("name=RACK", ["rack-7", "Rack-8"]),
        ("name=-8", ["Rack-8"]),
        ("name=%20rack-7%20", ["rack-7"]),
        ("account_type=launcher", ["rack-7", "Rack-8"]),
        ("account_type=Deployer&name=acme", ["acme"]),
        ("account_type=deployer&name=rack", []),
        ("account_type=king", []),
        ("account_type=agent", []),
        ("unknown=1&name=acme&name=rack-7", ["rack-7"]),
    ],
)
def test_the_list_is_filtered_by_any_part_of_the_name_and_by_type(world: World, query: str, names: list[str]) -> None:
    for name, account_type in {"acme": "deployer", "rack-7": "launcher", "Rack-8": "launcher"}.items():
        create(world, name, account_type)
        world.clock.now += timedelta(seconds=1)
    listed = answered(world.get(f"{PATH}?{query}", ADMIN))
    assert [account["name"] for account in listed["accounts"]] == names
    assert listed["total"] == len(names)


def test_an_empty_list_of_accounts_is_an_answer(world: World) -> None:
    assert answered(world.get(PATH, ADMIN)) == {"accounts": [], "total": 0}


# --- what the tests do to what is kept --------------------------------------------------------------------------------


def die(*_: object) -> None:
    raise Died
