"""Operators' passwords cannot be guessed fast, and their sessions can be ended."""

import hashlib
import string
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Final

import pytest
from google.cloud.firestore import Client
from structlog.testing import capture_logs

from functions.adapters.memory_records import MemoryRecords
from functions.adapters.records import FirestoreRecords
from functions.engine.operator_sessions import LOGINS_A_MINUTE, SESSION_VALID, SessionEnd, SessionEnds, Sessions
from shared.log_events import LogEvent
from tests.contract.conftest import MEMORY_AND_FIRESTORE
from tests.functions.capacity.accounts import ENROLMENTS, PATH, answered, detail, reshape
from tests.functions.world import ADMIN, CLIENT, PASSWORD, SECRET, World
from tests.threads import MAX_SECONDS

LOGIN: Final = "/admin/login"
LOGOUT: Final = "/admin/logout"
SESSIONS: Final = "/admin/sessions"
WRONG: Final = "a wrong password"


@pytest.fixture(params=MEMORY_AND_FIRESTORE)
def ends(request: pytest.FixtureRequest, world: World) -> None:
    """Have the ends of sessions in each of the stores."""
    if request.param == "firestore":
        client: Client = request.getfixturevalue("firestore_client")
        records = FirestoreRecords(client, "operator_session_ends", SessionEnd)
        reshape(world, sessions=Sessions(SECRET, PASSWORD, ends=records, clock=world.clock))


def log_in(world: World) -> str:
    token: str = answered(world.post(LOGIN, {"password": PASSWORD}, ""))["token"]
    return token


def guess(world: World, password: str = WRONG) -> int:
    return world.post(LOGIN, {"password": password}, "").status_code


def valid(world: World, token: str) -> bool:
    response = world.get(PATH, token)
    return response.status_code == 200 or detail(response, 401) != "The session was ended; log in again"


# --- passwords --------------------------------------------------------------------------------------------------------


def test_passwords_can_be_tried_so_often_a_minute_and_the_right_one_is_taken_again_later(world: World) -> None:
    assert [guess(world) for _ in range(LOGINS_A_MINUTE + 20)] == [401] * LOGINS_A_MINUTE + [429] * 20
    refused = world.post(LOGIN, {"password": PASSWORD}, "")
    assert "(quota: logins)" in detail(refused, 429)

    world.clock.now += timedelta(seconds=int(refused.headers["Retry-After"]))

    assert guess(world, PASSWORD) == 200
    assert guess(world, PASSWORD) == 429
    assert world.get(PATH, ADMIN).status_code == 200  # keys have no such limit


def test_a_wrong_password_is_logged_as_a_warning_without_the_password(world: World) -> None:
    with capture_logs() as lines:
        guess(world, "hunter-2-of-somebody")
        guess(world, PASSWORD)
    (line,) = [line for line in lines if line["event"] == LogEvent.LOGIN_REFUSED]
    assert line["log_level"] == "warning"
    assert "hunter" not in str(lines)


def test_a_password_is_compared_by_a_hash_that_is_slow_and_needs_memory(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, scrypt = list[dict[str, int]](), hashlib.scrypt

    def noted(password: bytes, *, salt: bytes, n: int, r: int, p: int, maxmem: int) -> bytes:
        asked.append({"n": n, "r": r, "p": p})
        return scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=maxmem)

    monkeypatch.setattr(hashlib, "scrypt", noted)
    assert guess(world) == 401
    assert guess(world, PASSWORD) == 200
    assert len(asked) == 3  # the right one's once
    assert all(one["n"] * one["r"] * one["p"] >= 2**14 * 8 * 5 for one in asked)


def test_one_password_is_hashed_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hang_once(*_: object, **__: object) -> bytes:
        if not begun.is_set():
            begun.set()
            assert go_on.wait(MAX_SECONDS)
        return b"the same for all"

    monkeypatch.setattr(hashlib, "scrypt", hang_once)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(world.ports.sessions.open, PASSWORD)
        assert begun.wait(MAX_SECONDS)
        second = world.post(LOGIN, {"password": PASSWORD}, "")
        go_on.set()
        first.result(MAX_SECONDS)

    assert detail(second, 429) == "Another login is being checked. (quota: logins)"


# --- sessions ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("ends")
def test_a_session_that_is_logged_out_is_over_and_others_are_not(world: World) -> None:
    mine, other = log_in(world), log_in(world)
    assert mine != other

    assert answered(world.post(LOGOUT, key=mine)) == {"status": "ended"}

    assert [valid(world, token) for token in (mine, other)] == [False, True]
    assert detail(world.post(LOGOUT, key=mine), 401) == "The session was ended; log in again"
    assert detail(world.post(ENROLMENTS, {"account_type": "agent"}, mine), 401)


@pytest.mark.usefixtures("ends")
def test_a_session_that_is_logged_out_is_over_however_its_token_is_written(world: World) -> None:
    """Base64 has bits that no decoder reads: four last digits of a signature stand for the same bytes."""
    token = log_in(world)
    assert answered(world.post(LOGOUT, key=token)) == {"status": "ended"}

    digits = f"{string.ascii_letters}{string.digits}-_"
    spellings = [*(token[:-1] + digit for digit in digits), f"{token}=", f"{token}=="]
    assert {world.get(PATH, spelling).status_code for spelling in spellings} == {401}


@pytest.mark.usefixtures("ends")
@pytest.mark.parametrize("by", ["a key", "a session"])
def test_all_sessions_can_be_ended_and_later_ones_are_valid(world: World, by: str) -> None:
    tokens = [log_in(world) for _ in range(2)]

    for _ in range(2):
        caller = ADMIN if by == "a key" else log_in(world)
        assert answered(world.delete(SESSIONS, caller)) == {"status": "ended"}

    later = log_in(world)
    assert [valid(world, token) for token in (*tokens, later)] == [False, False, True]


def test_a_session_ends_at_every_instance(world: World) -> None:
    ends = MemoryRecords[SessionEnd]()
    one, other = (Sessions(SECRET, PASSWORD, ends=ends, clock=world.clock) for _ in range(2))
    token, _ = one.open(PASSWORD)
    one.end(token)
    reshape(world, sessions=other)
    assert not valid(world, token)


@pytest.mark.parametrize("key", ["", CLIENT, ADMIN, "ee_session_9.x", "nonsense"])
def test_only_a_session_is_logged_out(world: World, key: str) -> None:
    assert world.post(LOGOUT, key=key).status_code == 401


@pytest.mark.parametrize("key", ["", CLIENT, "ee_session_9.x", "nonsense"])
def test_only_an_operator_ends_all_sessions(world: World, key: str) -> None:
    token = log_in(world)
    assert world.delete(SESSIONS, key).status_code == 401
    assert valid(world, token)


def test_the_end_of_a_session_is_remembered_as_long_as_its_token_would_be_valid(world: World) -> None:
    token = log_in(world)
    world.post(LOGOUT, key=token)
    world.delete(SESSIONS, ADMIN)
    world.clock.now += SESSION_VALID - timedelta(seconds=1)
    world.sweep()
    assert not valid(world, token)
    world.clock.now += timedelta(seconds=2)
    assert world.service(SessionEnds).forget(100) == 1
    later = log_in(world)
    assert valid(world, later)
