"""POST /api/v1/accounts: sections 1 and 2 of the capacity contract, and who may create which accounts."""

import re
from datetime import timedelta
from typing import NoReturn
from uuid import UUID

import pytest

from functions.domain.access import Role, digest
from functions.domain.accounts import AccountType
from functions.domain.refusals import Unavailable
from functions.engine.enrolments import Enrolments
from tests.factories import NOW
from tests.functions.capacity.accounts import (
    ENROLMENTS,
    PATH,
    alive,
    answered,
    configure,
    create,
    detail,
    enrol,
    note_keys,
    stored,
    wrong_fields,
)
from tests.functions.world import ADMIN, CLIENT, LAUNCHER, PASSWORD, World
from tests.meanwhile import Meanwhile

ROLES = {
    AccountType.DEPLOYER: Role.CLIENT,
    AccountType.AGENT: Role.AGENT,
    AccountType.CONTRIBUTOR: Role.CONTRIBUTOR,
    AccountType.LAUNCHER: Role.LAUNCHER,
}
KEY = re.compile(r"ee_live_[A-Za-z0-9_-]{32}")


def login(world: World) -> str:
    token: str = answered(world.post("/admin/login", {"password": PASSWORD}, ""))["token"]
    return token


# --- the contract's fields --------------------------------------------------------------------------------------------


def test_a_new_account_is_answered_with_its_key_and_a_warning(world: World) -> None:
    answer = create(world, "rack-7")

    assert {**answer, "account_id": "", "api_key": "", "warning": ""} == {
        "account_id": "",
        "name": "rack-7",
        "description": "",
        "account_type": "launcher",
        "balance": 0.0,
        "created_at": NOW.isoformat().replace("+00:00", "Z"),
        "api_key": "",
        "warning": "",
    }
    assert UUID(answer["account_id"]).version == 4
    assert KEY.fullmatch(answer["api_key"])
    assert len(answer["api_key"]) == 40
    assert "not shown again" in answer["warning"]


def test_an_account_may_be_described(world: World) -> None:
    assert create(world, "rack-7", description="The third\nfrom the left")["description"] == "The third\nfrom the left"


@pytest.mark.parametrize("account_type", AccountType)
def test_a_key_has_the_role_of_its_accounts_type(world: World, account_type: AccountType) -> None:
    answer = create(world, "one", account_type)

    key = world.ports.keys.find(digest(answer["api_key"]))

    assert answer["account_type"] == account_type
    assert key is not None
    assert (key.role, key.account, key.revocable) == (ROLES[account_type], answer["account_id"], True)


def test_a_launchers_key_opens_what_a_launchers_key_opens(world: World) -> None:
    world.place()
    assert world.claim_next(create(world, "rack-7")["api_key"]) is not None
    assert world.post("/v1/claims", {}, create(world, "some-client", "deployer")["api_key"]).status_code == 403


def test_the_key_itself_is_kept_nowhere(world: World) -> None:
    answer = create(world, "rack-7")
    assert answer["api_key"] not in str(stored(world, answer["account_id"]))
    assert stored(world, answer["account_id"])["key_digest"] == digest(answer["api_key"])


def test_unknown_fields_are_ignored(world: World) -> None:
    create(world, "rack-7", github_login="octocat", balance=100, account_id="mine")
    assert answered(world.get(PATH, ADMIN))["accounts"][0]["balance"] == 0.0


def test_a_names_ends_are_trimmed(world: World) -> None:
    assert create(world, "  rack 7\t")["name"] == "rack 7"
    assert create(world, "rack 7 ", status=409) == {"detail": "Account 'rack 7' already exists"}


@pytest.mark.parametrize("name", ["rack-7", "Стойка №7 / 'левая' 🚀", "x" * 200, "__x__", "."])
def test_a_name_that_is_taken_is_a_conflict(world: World, name: str) -> None:
    first = create(world, name)
    assert create(world, name, "contributor", key="", status=409) == {"detail": f"Account '{name}' already exists"}
    assert answered(world.get(f"{PATH}/{first['account_id']}", first["api_key"]))["account_type"] == "launcher"


def test_no_key_is_made_for_a_name_that_is_taken(world: World) -> None:
    create(world, "rack-7")
    keys = note_keys(world)
    create(world, "rack-7", status=409)
    assert keys == []


def test_names_of_another_case_are_others(world: World) -> None:
    assert create(world, "rack")["account_id"] != create(world, "Rack")["account_id"]


@pytest.mark.parametrize("account_type", ["", "admin", "Launcher", " launcher", "launchers"])
def test_an_unknown_type_is_a_bad_request_that_names_the_types(world: World, account_type: str) -> None:
    text = detail(world.post(PATH, {"name": "one", "account_type": account_type}, ADMIN), 400)
    assert text == "Invalid account_type. Expected one of: deployer, agent, contributor, launcher"


@pytest.mark.parametrize("name", ["", " ", "\t\n", "\u3000"])
def test_an_empty_name_is_a_bad_request_also_without_a_key(world: World, name: str) -> None:
    for key in (ADMIN, ""):
        response = world.post(PATH, {"name": name, "account_type": "launcher"}, key)
        assert detail(response, 400) == "Account name is required"


@pytest.mark.parametrize(
    ("body", "location"),
    [
        ({}, [["body", "name"], ["body", "account_type"]]),
        ({"name": "one"}, [["body", "account_type"]]),
        ({"account_type": "launcher"}, [["body", "name"]]),
        ({"name": 7, "account_type": "launcher"}, [["body", "name"]]),
        ({"name": None, "account_type": "launcher"}, [["body", "name"]]),
        ({"name": "one", "account_type": ["launcher"]}, [["body", "account_type"]]),
        ({"name": "one", "account_type": "launcher", "description": {}}, [["body", "description"]]),
        ({"name": "x" * 201, "account_type": "launcher"}, [["body", "name"]]),
        ({"name": "a\nb", "account_type": "launcher"}, [["body", "name"]]),
        ({"name": "a\x00b", "account_type": "launcher"}, [["body", "name"]]),
        ({"name": "a\x1b[31mb", "account_type": "launcher"}, [["body", "name"]]),
        ({"name": "a\x85b", "account_type": "launcher"}, [["body", "name"]]),
        ({"name": "one", "account_type": "launcher", "description": "x" * 2001}, [["body", "description"]]),
        ([], [["body"]]),
        (None, [["body"]]),
    ],
)
def test_a_field_that_is_missing_or_mistyped_is_named(world: World, body: object, location: list[list[str]]) -> None:
    assert wrong_fields(world.post(PATH, body, ADMIN)) == location


def test_a_body_that_is_not_json_is_refused(world: World) -> None:
    for body in (b"{", b"\xff", b'{"name": "\\ud800", "account_type": "agent"}', b"[" * 60_000):
        response = world.http.post(PATH, data=body, headers={"Authorization": f"Bearer {ADMIN}"})
        assert wrong_fields(response) == [["body"]]


# --- an addition of ours: the datacenters that a launcher is held to --------------------------------------------------


def test_a_launcher_may_be_held_to_clouds_and_datacenters_by_any_of_their_names(world: World) -> None:
    held = ["Google", "on-prem:Rack-7", " gcp ", "azure:", "gcp:us-central1-a"]
    answer = create(world, "rack-7", datacenters=held)

    view = answered(world.get(f"{PATH}/{answer['account_id']}", answer["api_key"]))

    assert view["datacenters"] == ["gcp", "baremetal:rack-7", "azure:default", "gcp:us-central1-a"]
    assert "datacenters" not in answer


@pytest.mark.parametrize("datacenter", ["", "gcp:*", "gcp:a:b", "a b", "gcp:" + "x" * 97, "x" * 500])
def test_an_invalid_datacenter_of_an_account_is_named(world: World, datacenter: str) -> None:
    body = {"name": "one", "account_type": "launcher", "datacenters": ["gcp", datacenter]}
    assert wrong_fields(world.post(PATH, body, ADMIN)) == [["body", "datacenters", 1]]


def test_only_a_launcher_is_held_to_datacenters(world: World) -> None:
    body = {"name": "one", "account_type": "deployer", "datacenters": ["gcp"]}
    assert wrong_fields(world.post(PATH, body, ADMIN)) == [["body", "datacenters"]]


# --- who may create what ----------------------------------------------------------------------------------------------


def test_anyone_may_create_a_contributor_with_any_token(world: World) -> None:
    for name, key in {"a": "", "b": CLIENT, "c": "nonsense", "d": "ee_session_x"}.items():
        create(world, name, "contributor", key)


@pytest.mark.parametrize("account_type", ["deployer", "agent", "launcher"])
def test_a_privileged_account_is_not_for_everyone(world: World, account_type: str) -> None:
    body = {"name": "one", "account_type": account_type}

    nothing = world.post(PATH, body, "")

    assert detail(nothing, 401) == "Missing Authorization header"
    assert nothing.headers["WWW-Authenticate"].startswith("Bearer")
    for key in (CLIENT, LAUNCHER, "ee_live_nonsense", "ee_enrol_nonsense"):
        text = detail(world.post(PATH, body, key), 403)
        assert f"{account_type} account" in text
        assert ENROLMENTS in text
    assert answered(world.get(PATH, ADMIN))["total"] == 0


@pytest.mark.parametrize("header", ["Bearer", "Bearer a b", "Basic abc", "token", ""])
def test_a_malformed_header_is_refused_with_the_right_form(world: World, header: str) -> None:
    body = {"name": "one", "account_type": "launcher"}
    text = detail(world.http.post(PATH, json=body, headers={"Authorization": header}), 401)
    assert text == "Invalid Authorization header format. Expected: Bearer <api_key>"


def test_a_session_creates_accounts_until_it_is_over(world: World) -> None:
    token = login(world)
    create(world, "one", key=token)
    world.clock.now += timedelta(hours=24)
    assert create(world, "two", key=token, status=401) == {"detail": "Session expired"}
    assert create(world, "two", key="ee_session_9.x", status=401) == {"detail": "Invalid session token"}


@pytest.mark.parametrize("account_type", AccountType)
def test_with_open_signup_every_account_is_for_everyone(world: World, account_type: AccountType) -> None:
    configure(world, open_signup=True)
    create(world, "one", account_type, key="")
    create(world, "two", account_type, key="nonsense")


# --- enrolment tokens -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("account_type", ["deployer", "agent", "launcher"])
def test_an_enrolment_token_creates_one_account_of_its_type(world: World, account_type: str) -> None:
    token = enrol(world, account_type)
    create(world, "one", account_type, key=token)
    for name in ("one", "two"):
        assert "used" in create(world, name, account_type, key=token, status=403)["detail"]
    assert answered(world.get(PATH, ADMIN))["total"] == 1


def test_an_enrolment_token_is_invalid_for_another_type(world: World) -> None:
    token = enrol(world, "agent")
    create(world, "one", "launcher", key=token, status=403)
    create(world, "one", "agent", key=token)


def test_an_enrolment_token_is_invalid_once_it_has_expired(world: World) -> None:
    first, second = enrol(world, ttl_seconds=60), enrol(world, ttl_seconds=61)
    world.clock.now += timedelta(seconds=60)
    create(world, "one", key=first, status=403)
    create(world, "one", key=second)


def test_a_refused_account_does_not_use_up_its_token(world: World) -> None:
    create(world, "taken")
    token = enrol(world)
    create(world, "taken", key=token, status=409)
    create(world, " ", key=token, status=400)
    create(world, "one", "king", key=token, status=400)
    create(world, "one", key=token, datacenters=["?"], status=422)
    create(world, "one", key=token)


def test_a_token_is_given_back_if_another_takes_the_name_meanwhile(world: World, meanwhile: Meanwhile) -> None:
    token, keys = enrol(world), note_keys(world)
    meanwhile(world.ports.accounts, "get", lambda: create(world, "taken"), after=True)

    assert create(world, "taken", key=token, status=409) == {"detail": "Account 'taken' already exists"}

    assert len(keys) == 2
    (winners,) = alive(world, keys)  # the loser's, which nobody knows, is withdrawn
    (account,) = answered(world.get(PATH, ADMIN))["accounts"]
    assert answered(world.get(f"{PATH}/{account['account_id']}", winners))["name"] == "taken"
    create(world, "one", key=token)


def test_a_token_is_given_back_if_the_store_is_not_available(world: World, meanwhile: Meanwhile) -> None:
    token = enrol(world)

    def no_answer() -> NoReturn:
        raise Unavailable("The store does not answer.")

    meanwhile(world.ports.accounts, "add", no_answer)
    assert world.post(PATH, {"name": "one", "account_type": "launcher"}, token).status_code == 503
    create(world, "one", key=token)


def test_a_name_that_is_taken_meanwhile_is_a_conflict_also_if_the_token_expires_and_is_forgotten_meanwhile(
    world: World, meanwhile: Meanwhile
) -> None:
    token = enrol(world)

    def another_takes_the_name_and_time_passes() -> None:
        create(world, "taken")
        world.clock.now += timedelta(days=2)

    meanwhile(world.ports.accounts, "get", another_takes_the_name_and_time_passes, after=True)
    meanwhile(world.ports.keys, "remove", lambda: world.service(Enrolments).forget_expired(limit=100))
    assert create(world, "taken", key=token, status=409) == {"detail": "Account 'taken' already exists"}


def test_a_token_that_is_forgotten_while_it_is_used_is_refused(world: World, meanwhile: Meanwhile) -> None:
    token = enrol(world)

    def expire() -> None:
        world.clock.now += timedelta(days=2)
        world.service(Enrolments).forget_expired(limit=100)

    meanwhile(world.ports.accounts, "get", expire)
    assert "expired" in create(world, "one", key=token, status=403)["detail"]


def test_expired_enrolments_are_forgotten_so_many_at_a_time(world: World) -> None:
    for seconds in (60, 61, 62, 3600):
        enrol(world, ttl_seconds=seconds)
    valid = enrol(world)
    world.clock.now += timedelta(seconds=3600, microseconds=1)
    assert [world.service(Enrolments).forget_expired(limit=3) for _ in range(3)] == [3, 1, 0]
    create(world, "one", key=valid)
