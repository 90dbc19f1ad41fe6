"""The contract of every store of records."""

from collections import Counter
from datetime import timedelta
from functools import partial
from typing import Any, Final

import pytest
from google.cloud.firestore import Client

from functions.adapters.memory_records import MemoryRecords
from functions.adapters.records import FirestoreRecords
from functions.domain.accounts import NOBODY
from functions.domain.agent_sessions import AgentSession, EventPage, EventType, StoredEvent, key_of
from functions.domain.parent_notices import ChildEnd, End, Mailbox, Notice
from functions.domain.pools import Pool, given_up, plan
from functions.domain.refusals import Conflict, Invalid, NotFound
from functions.ports.records import Records
from tests.contract.conftest import MEMORY_AND_FIRESTORE
from tests.factories import NOW, Challenge
from tests.threads import at_once

SOON = timedelta(minutes=5)


def a_challenge(vm_name: str = "vm-1", nonce: str = "00", issued_at: timedelta = timedelta()) -> Challenge:
    return Challenge(vm_name, nonce, NOW + issued_at, NOW + issued_at + SOON)


@pytest.fixture(params=MEMORY_AND_FIRESTORE)
def records(request: pytest.FixtureRequest) -> Records[Challenge]:
    if request.param == "memory":
        return MemoryRecords()
    return FirestoreRecords(request.getfixturevalue("firestore_client"), "challenges", Challenge)


@pytest.mark.parametrize("id_", ["vm-1", "a/b", "__x__", ".", "ключ", " "])
def test_a_record_is_found_under_any_id(records: Records[Challenge], id_: str) -> None:
    records.add(id_, a_challenge())
    assert records.get(id_) == a_challenge()
    assert records.get("another") is None


def test_the_same_record_twice_is_one_and_another_of_its_id_conflicts(records: Records[Challenge]) -> None:
    records.add("vm-1", a_challenge())
    records.add("vm-1", a_challenge())
    with pytest.raises(Conflict):
        records.add("vm-1", a_challenge(nonce="01"))
    assert records.get("vm-1") == a_challenge()


def test_of_many_that_add_under_one_id_one_wins(records: Records[Challenge]) -> None:
    rivals = [partial(records.add, "vm-1", a_challenge(nonce=f"{number:02}")) for number in range(8)]
    answers = at_once(rivals)
    assert Counter(type(answer) for answer in answers) == {type(None): 1, Conflict: 7}


def test_a_change_applies_to_the_current_record_even_if_many_change_it_at_once(records: Records[Challenge]) -> None:
    records.add("vm-1", a_challenge(nonce=""))
    at_once([lambda: records.change("vm-1", lambda one: a_challenge(nonce=one.nonce + "x"))] * 4)
    found = records.get("vm-1")
    assert found is not None
    assert found.nonce == "xxxx"


def test_nothing_changes_if_there_is_no_record_or_the_change_is_refused(records: Records[Challenge]) -> None:
    def refuse(_: Challenge) -> Challenge:
        raise Conflict("no")

    with pytest.raises(NotFound):
        records.change("vm-1", lambda one: one)
    records.add("vm-1", a_challenge())
    with pytest.raises(Conflict):
        records.change("vm-1", refuse)
    assert records.get("vm-1") == a_challenge()


def test_an_upsert_adds_a_record_or_changes_the_one_that_is_there(records: Records[Challenge]) -> None:
    def longer(one: Challenge) -> Challenge:
        return a_challenge(nonce=one.nonce + "x")

    assert records.upsert("vm-1", a_challenge(nonce="00"), longer) == a_challenge(nonce="00")
    assert records.upsert("vm-1", a_challenge(nonce="01"), longer) == a_challenge(nonce="00x")
    assert records.get("vm-1") == a_challenge(nonce="00x")


def test_of_many_that_upsert_at_once_one_adds_and_the_others_change(records: Records[Challenge]) -> None:
    at_once([lambda: records.upsert("vm-1", a_challenge(nonce=""), lambda one: a_challenge(nonce=one.nonce + "x"))] * 4)
    found = records.get("vm-1")
    assert found is not None
    assert found.nonce == "xxx"


@pytest.mark.emulator
def test_a_change_that_changes_nothing_writes_nothing(firestore_client: Client) -> None:
    records = FirestoreRecords(firestore_client, "challenges", Challenge)
    records.add("vm-1", a_challenge())

    def written() -> list[object]:
        return [document.update_time for document in firestore_client.collection("challenges").stream()]

    before = written()
    assert records.change("vm-1", lambda one: one) == a_challenge()
    assert written() == before
    records.change("vm-1", lambda _: a_challenge(nonce="01"))
    assert written() != before


def test_of_many_that_take_a_record_one_gets_it(records: Records[Challenge]) -> None:
    records.add("vm-1", a_challenge())
    got = at_once([lambda: records.take("vm-1")] * 8)
    assert Counter(one is not None for one in got) == {True: 1, False: 7}
    assert records.get("vm-1") is None


def test_a_record_that_is_not_the_one_meant_is_left(records: Records[Challenge]) -> None:
    records.add("vm-1", a_challenge(nonce="01"))
    assert records.take("vm-1", lambda one: one.nonce == "00") is None
    assert records.get("vm-1") == a_challenge(nonce="01")
    assert records.take("vm-1", lambda one: one.nonce == "01") == a_challenge(nonce="01")
    assert records.get("vm-1") is None


def test_records_are_found_by_a_field_by_a_time_and_all(records: Records[Challenge]) -> None:
    late, early = a_challenge("vm-1", issued_at=SOON), a_challenge("vm-2")
    records.add("1", late)
    records.add("2", early)
    assert records.find("vm_name", "vm-1", 10) == [late]
    assert records.find("vm_name", "vm-9", 10) == []
    assert records.before("issued_at", NOW + SOON, 10) == [early]
    assert records.before("issued_at", NOW + 2 * SOON, 10) == [early, late]
    assert records.before("issued_at", NOW + 2 * SOON, 1) == [early]
    assert sorted(one.vm_name for one in records.all(10)) == ["vm-1", "vm-2"]
    assert len(records.all(1)) == 1


def test_the_latest_records_of_a_field_are_found_first(records: Records[Challenge]) -> None:
    for number in range(4):
        records.add(str(number), a_challenge(f"vm-{number % 2}", str(number), number * SOON))

    assert [one.nonce for one in records.latest("vm_name", "vm-1", "issued_at", 10)] == ["3", "1"]
    assert [one.nonce for one in records.latest("vm_name", "vm-1", "issued_at", 1)] == ["3"]
    assert records.latest("vm_name", "vm-9", "issued_at", 10) == []


def test_records_are_read_by_pages_from_the_earliest_and_counted(records: Records[Challenge]) -> None:
    for number in range(6):
        records.add(str(number), a_challenge(f"vm-{number % 2}", str(number), (number // 4) * SOON))
    read, after = list[str](), None
    for size in (2, 1, 1):
        page = records.page({"vm_name": "vm-1"}, "issued_at", size, after)
        assert len(page.records) == min(size, 3 - len(read))
        read += [one.nonce for one in page.records]
        after = page.next
        if after is None:
            break

    assert (sorted(read[:2]), read[2:], after) == (["1", "3"], ["5"], None)
    assert len(records.page({}, "issued_at", 10).records) == 6
    assert records.page({"vm_name": "vm-9"}, "issued_at", 10).records == []
    assert [records.count(where) for where in ({}, {"vm_name": "vm-1"}, {"vm_name": "vm-9"})] == [6, 3, 0]
    assert records.count({"vm_name": "vm-1", "nonce": "5"}) == 1


@pytest.mark.parametrize("mark", ["", "é", "bm90IG91cnM=", "2026"])
def test_a_mark_of_another_list_of_records_is_refused(records: Records[Challenge], mark: str) -> None:
    with pytest.raises(Invalid):
        records.page({}, "issued_at", 10, mark)


@pytest.fixture(params=MEMORY_AND_FIRESTORE)
def pools(request: pytest.FixtureRequest) -> Records[Pool]:
    if request.param == "memory":
        return MemoryRecords()
    return FirestoreRecords(request.getfixturevalue("firestore_client"), "pools", Pool)


def test_a_pool_comes_back_with_its_members_as_it_went(pools: Records[Pool]) -> None:
    pool = plan(Pool("1" * 32, NOBODY, "gcp:a", "tiny", 2, "warm", NOW, NOW, dispatch=True), {})
    pools.add(pool.id, pool)
    assert pools.get(pool.id) == pool
    assert pools.find("account", NOBODY, 10) == [pool]
    assert pools.change(pool.id, lambda one: given_up(one, NOW)) == pools.get(pool.id)


SESSION: Final = AgentSession(
    id="s-1",
    account="acme",
    reporter="rack",
    reported=key_of("rack", "s-1"),
    name="survey-1",
    named=key_of("acme", "survey-1"),
    created_at=NOW,
    running_since=NOW,
    heard_at=NOW + timedelta(microseconds=1),
    result="é 🚀",
    result_at=NOW,
)
ENDED: Final = ChildEnd("job_0a1b2c3d4e5f", "child", End.STOPPED)
OF_AGENTS: Final = {
    "agent_sessions": SESSION,
    "agent_session_events": EventPage(SESSION.pages_key, 0, (StoredEvent(EventType.MESSAGE, '{"a": [[1]]}'),)),
    "job_notices": Notice("job_0a1b2c3d4e5f", "acme", "child", "boss", NOW, NOW + SOON),
    "parent_mailboxes": Mailbox("acme", "boss", NOW, (ENDED,), (ENDED, ENDED), ("job_1",), NOW),
}


@pytest.mark.parametrize("name", OF_AGENTS)
@pytest.mark.parametrize("store", MEMORY_AND_FIRESTORE)
def test_a_record_of_an_agent_s_session_comes_back_as_it_went(
    request: pytest.FixtureRequest, store: str, name: str
) -> None:
    """Changes of a mailbox are made only if it equals what was read before."""
    record: Any = OF_AGENTS[name]
    records: Records[Any] = MemoryRecords()
    if store == "firestore":
        records = FirestoreRecords(request.getfixturevalue("firestore_client"), name, type(record))
    records.add("1", record)
    assert records.get("1") == record
    assert records.change("1", lambda stored: stored if stored == record else None) == record
