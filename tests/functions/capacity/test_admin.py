"""Operators: their sessions, and the enrolment tokens that they issue."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest

from functions.adapters.memory_records import MemoryRecords
from functions.domain.access import digest
from functions.domain.accounts import AccountType
from functions.engine.operator_sessions import Sessions
from tests.factories import NOW
from tests.functions.capacity.accounts import ENROLMENTS, PATH, answered, detail, enrol, reshape, wrong_fields
from tests.functions.world import ADMIN, CLIENT, LAUNCHER, PASSWORD, SECRET, World

LOGIN = "/admin/login"


def login(world: World) -> str:
    token: str = answered(world.post(LOGIN, {"password": PASSWORD}, ""))["token"]
    return token


# --- POST /admin/login ------------------------------------------------------------------------------------------------


def test_the_password_buys_a_session_of_a_day(world: World) -> None:
    world.clock.now = NOW + timedelta(microseconds=700_000)
    answer = answered(world.post(LOGIN, {"password": PASSWORD}, ""))
    assert set(answer) == {"token", "expires_at"}
    assert answer["expires_at"] == (NOW + timedelta(hours=24)).isoformat().replace("+00:00", "Z")
    assert PASSWORD not in answer["token"]


def test_a_session_is_valid_until_the_second_in_its_answer(world: World) -> None:
    token = login(world)
    world.clock.now = NOW + timedelta(hours=24, seconds=-1)
    assert world.get(PATH, token).status_code == 200
    world.clock.now = NOW + timedelta(hours=24)
    assert detail(world.get(PATH, token), 401) == "Session expired"


@pytest.mark.parametrize("password", ["", PASSWORD + "x", PASSWORD[:-1], PASSWORD.upper(), "пароль", "\x00"])
def test_a_wrong_password_is_refused(world: World, password: str) -> None:
    assert detail(world.post(LOGIN, {"password": password}, ""), 401) == "Invalid password"


def test_login_can_be_off_and_can_be_not_configured(world: World) -> None:
    reshape(world, sessions=Sessions(SECRET, PASSWORD, allowed=False, ends=MemoryRecords(), clock=world.clock))
    assert detail(world.post(LOGIN, {"password": PASSWORD}, ""), 403) == "Password login is disabled"
    reshape(world, sessions=Sessions(SECRET, None, ends=MemoryRecords(), clock=world.clock))
    assert detail(world.post(LOGIN, {"password": PASSWORD}, ""), 500) == "Admin password is not configured"


def test_the_password_must_be_there_and_what_was_sent_is_not_repeated(world: World) -> None:
    assert wrong_fields(world.post(LOGIN, {}, "")) == [["body", "password"]]
    response = world.post(LOGIN, {"password": {"is": PASSWORD}}, "")
    assert wrong_fields(response) == [["body", "password"]]
    assert PASSWORD not in response.text


@pytest.mark.parametrize(
    "sessions",
    [
        partial(Sessions, SECRET, "another password of operators"),
        partial(Sessions, "another secret of 32 characters, or of more", PASSWORD),
        partial(Sessions, SECRET, None),
        partial(Sessions, SECRET, PASSWORD, allowed=False),
    ],
    ids=["another password", "another secret", "no password", "login off"],
)
def test_a_session_ends_with_the_password_the_secret_and_the_login_that_it_came_of(
    world: World, sessions: Callable[..., Sessions]
) -> None:
    token = login(world)
    reshape(world, sessions=sessions(ends=MemoryRecords(), clock=world.clock))
    assert detail(world.get(PATH, token), 401) == "Invalid session token"


def test_a_session_cannot_be_prolonged_or_made_up(world: World) -> None:
    token = login(world)
    until, _, signature = token.partition(".")
    seconds, rest = until.removeprefix("ee_session_").split("_", 1)
    later = f"ee_session_{int(seconds) + 1}_{rest}"
    for forged in (f"{later}.{signature}", until, f"{until}.", "ee_session_", "ee_session_.", "ee_session_9é.x"):
        assert detail(world.get(PATH, forged), 401) == "Invalid session token"


# --- the words for keys on admin routes -------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), [("GET", PATH), ("POST", ENROLMENTS)])
def test_admin_routes_refuse_in_the_contracts_words(world: World, method: str, path: str) -> None:
    def text(**headers: str) -> str:
        return detail(world.http.open(path, method=method, json={"account_type": "agent"}, headers=headers), 401)

    form = "Invalid Authorization header format. Expected: Bearer <token>"
    assert text() == "Missing Authorization header"
    assert [text(Authorization=header) for header in ("", "Bearer", "Bearer a b", "Basic a")] == [form] * 4
    for key in ("nonsense", "ee_live_nonsense", "ee_session_nonsense", CLIENT, LAUNCHER):
        assert text(Authorization=f"Bearer {key}") == "Invalid session token"


def test_the_scheme_is_accepted_in_any_case(world: World) -> None:
    for scheme in ("bearer", "BEARER"):
        assert world.http.get(PATH, headers={"Authorization": f"{scheme} {ADMIN}"}).status_code == 200


# --- POST /api/v1/admin/enrolments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "seconds"), [({}, 86400), ({"ttl_seconds": 1}, 1), ({"ttl_seconds": 2592000}, 2592000)]
)
def test_an_enrolment_token_is_for_a_type_and_a_time(world: World, fields: dict[str, int], seconds: int) -> None:
    answer = answered(world.post(ENROLMENTS, {"account_type": "agent", **fields}, login(world)))
    expires_at = (NOW + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    assert {**answer, "token": ""} == {"token": "", "account_type": "agent", "expires_at": expires_at}
    assert answer["token"].startswith("ee_enrol_")


def test_an_enrolment_token_is_kept_by_its_digest_only(world: World) -> None:
    token = enrol(world)
    (enrolment,) = world.ports.enrolments.all(10)
    assert enrolment.digest == digest(token)
    assert token not in repr(enrolment)


@pytest.mark.parametrize("seconds", [0, -1, 2592001, 1.5, "soon", None, 1e999, [60]])
def test_an_enrolment_lasts_a_second_to_30_days(world: World, seconds: object) -> None:
    response = world.post(ENROLMENTS, {"account_type": "agent", "ttl_seconds": seconds}, ADMIN)
    assert wrong_fields(response) == [["body", "ttl_seconds"]]


def test_an_enrolment_is_for_a_type_that_needs_one(world: World) -> None:
    assert wrong_fields(world.post(ENROLMENTS, {}, ADMIN)) == [["body", "account_type"]]
    text = detail(world.post(ENROLMENTS, {"account_type": "king"}, ADMIN), 400)
    assert text == f"Invalid account_type. Expected one of: {', '.join(AccountType)}"
    assert "no token is needed" in detail(world.post(ENROLMENTS, {"account_type": "contributor"}, ADMIN), 400)
