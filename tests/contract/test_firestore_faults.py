"""The Firestore store's answers if Firestore itself fails: a lost answer is not a lost order."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from google.api_core.exceptions import (
    Aborted,
    Cancelled,
    DeadlineExceeded,
    GoogleAPICallError,
    InternalServerError,
    InvalidArgument,
    PermissionDenied,
    ServiceUnavailable,
)
from google.cloud.firestore import Client
from structlog.testing import capture_logs

from emulators.ports import free_port
from emulators.processes import LOOPBACK
from functions.adapters.firestore import ORDERS, FirestoreOrderStore
from functions.adapters.records import FirestoreRecords
from functions.domain.accounts import Account
from functions.domain.events import Cancel
from functions.domain.refusals import Invalid, KeyReused, NotFound, Unavailable, WrongState
from functions.ports.orders import OrderQuery
from shared.domain.order import LEASE, State
from tests.factories import NOW, a_claim, a_key, an_order

pytestmark = pytest.mark.emulator

LONG = "x" * 1501
"""Longer than the values that Firestore can query for."""

Commit = Callable[..., Any]
Fault = Callable[[Commit, tuple[Any, ...], dict[str, Any]], Any]

AMBIGUOUS = [ServiceUnavailable, DeadlineExceeded, InternalServerError, Aborted, Cancelled]


class FaultyCommits:
    """Replaces the client's `commit`: the next commits fail as scripted. Counts all commits."""

    def __init__(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        api = client._firestore_api
        self._commit: Commit = api.commit
        self._faults: list[Fault] = []
        self.asked = 0
        monkeypatch.setattr(api, "commit", self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        if self._faults:
            return self._faults.pop(0)(self._commit, args, kwargs)
        return self._commit(*args, **kwargs)

    def lose_the_answer(self, error: type[GoogleAPICallError]) -> None:
        def fault(commit: Commit, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            commit(*args, **kwargs)
            raise error("the answer was lost")

        self._faults.append(fault)

    def lose_the_answer_and_ask_again(self) -> None:
        """Repeat the commit, as the library's own retry does: the repeat fails by what the first commit left."""

        def fault(commit: Commit, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            commit(*args, **kwargs)
            return commit(*args, **kwargs)

        self._faults.append(fault)

    def lose_the_request(self, error: type[GoogleAPICallError], times: int = 1) -> None:
        def fault(commit: Commit, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            raise error("the request was lost")

        self._faults.extend([fault] * times)

    def let_another(self, change: Callable[[], object]) -> None:
        """Run another writer's change just before the next commit."""

        def fault(commit: Commit, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            change()
            return commit(*args, **kwargs)

        self._faults.append(fault)

    def recover(self) -> None:
        self._faults.clear()


@pytest.fixture
def commits(firestore_client: Client, monkeypatch: pytest.MonkeyPatch) -> FaultyCommits:
    return FaultyCommits(firestore_client, monkeypatch)


@pytest.fixture
def store(firestore_client: Client) -> FirestoreOrderStore:
    return FirestoreOrderStore(firestore_client)


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> Iterator[FirestoreOrderStore]:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"{LOOPBACK}:{free_port()}")
    client = Client(project="nowhere")
    yield FirestoreOrderStore(client)
    client.close()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("error", AMBIGUOUS)
def test_a_create_whose_answer_was_lost_is_one_order(
    store: FirestoreOrderStore, commits: FaultyCommits, error: type[GoogleAPICallError]
) -> None:
    order = an_order()
    commits.lose_the_answer(error)

    assert store.create(order, a_key(order)).order == order
    assert store.get(order.id) == order
    assert commits.asked == 1


def test_a_create_that_lost_to_itself_is_one_order(store: FirestoreOrderStore, commits: FaultyCommits) -> None:
    order = an_order()
    commits.lose_the_answer_and_ask_again()

    assert store.create(order, a_key(order)).order == order


@pytest.mark.parametrize("error", AMBIGUOUS)
def test_a_create_whose_request_was_lost_is_made_again(
    store: FirestoreOrderStore, commits: FaultyCommits, error: type[GoogleAPICallError]
) -> None:
    order = an_order()
    commits.lose_the_request(error)

    assert store.create(order, a_key(order)).order == order
    assert commits.asked == 2


def test_a_reused_key_is_refused_even_if_the_answer_was_lost(
    store: FirestoreOrderStore, commits: FaultyCommits
) -> None:
    first, other = an_order(), an_order()
    store.create(first, a_key(first, "key"))
    commits.lose_the_request(ServiceUnavailable)

    with pytest.raises(KeyReused):
        store.create(other, a_key(other, "key", fingerprint="1" * 64))


@pytest.mark.parametrize("from_seen", [False, True])
@pytest.mark.parametrize("error", AMBIGUOUS)
def test_a_claim_whose_answer_was_lost_is_held_once(
    store: FirestoreOrderStore, commits: FaultyCommits, error: type[GoogleAPICallError], from_seen: bool
) -> None:
    order, claim = an_order(), a_claim()
    store.create(order, a_key(order))
    seen = store.read(order.id) if from_seen else None
    commits.lose_the_answer(error)

    claimed = store.apply(order.id, claim, NOW, seen)

    assert (claimed.state, claimed.epoch, claimed.recent) == (State.CLAIMED, 1, (claim.request_id,))
    assert claimed == store.get(order.id)
    assert commits.asked == 2


@pytest.mark.parametrize("from_seen", [False, True])
def test_a_claim_that_lost_to_itself_is_held(
    store: FirestoreOrderStore, commits: FaultyCommits, from_seen: bool
) -> None:
    order = an_order()
    store.create(order, a_key(order))
    seen = store.read(order.id) if from_seen else None
    commits.lose_the_answer_and_ask_again()

    claimed = store.apply(order.id, a_claim(), NOW, seen)

    assert (claimed.state, claimed.epoch) == (State.CLAIMED, 1)
    assert claimed == store.get(order.id)


def test_a_claim_that_lost_to_another_is_refused_even_if_the_answer_was_lost(
    store: FirestoreOrderStore, commits: FaultyCommits
) -> None:
    order = an_order()
    store.create(order, a_key(order))
    seen = store.read(order.id)
    held = store.apply(order.id, a_claim(), NOW)
    commits.lose_the_request(ServiceUnavailable)

    with pytest.raises(WrongState):
        store.apply(order.id, a_claim("rack/beta"), NOW, seen)
    assert store.get(order.id) == held


@pytest.mark.parametrize("error", AMBIGUOUS)
def test_a_removal_whose_answer_was_lost_succeeds(
    store: FirestoreOrderStore, commits: FaultyCommits, error: type[GoogleAPICallError]
) -> None:
    order_id = cancelled(store)
    commits.lose_the_answer(error)
    asked = commits.asked

    store.remove(order_id)

    with pytest.raises(NotFound):
        store.get(order_id)
    assert commits.asked == asked + 1


def test_a_removal_that_lost_to_itself_is_done(store: FirestoreOrderStore, commits: FaultyCommits) -> None:
    order_id = cancelled(store)
    commits.lose_the_answer_and_ask_again()

    store.remove(order_id)

    with pytest.raises(NotFound):
        store.get(order_id)


@pytest.mark.parametrize("error", AMBIGUOUS)
def test_a_removal_whose_request_was_lost_is_made_again(
    store: FirestoreOrderStore, commits: FaultyCommits, error: type[GoogleAPICallError]
) -> None:
    order_id = cancelled(store)
    commits.lose_the_request(error)

    store.remove(order_id)

    with pytest.raises(NotFound):
        store.get(order_id)


def test_an_order_that_changes_while_it_is_removed_is_looked_at_again(
    store: FirestoreOrderStore, firestore_client: Client, commits: FaultyCommits
) -> None:
    order_id = cancelled(store)
    commits.let_another(lambda: firestore_client.collection(ORDERS).document(order_id).update({"state": "queued"}))

    with pytest.raises(WrongState):
        store.remove(order_id)
    assert store.get(order_id).state is State.QUEUED


@pytest.mark.parametrize("error", AMBIGUOUS)
def test_keys_whose_forgetting_was_not_answered_are_forgotten(
    store: FirestoreOrderStore, commits: FaultyCommits, error: type[GoogleAPICallError]
) -> None:
    order, again = an_order(), an_order()
    store.create(order, a_key(order, "key"))
    commits.lose_the_answer(error)

    store.forget_keys(NOW + LEASE, limit=10)

    assert store.create(again, a_key(again, "key")).order == again


@pytest.mark.parametrize("error", AMBIGUOUS)
def test_keys_whose_forgetting_was_not_asked_are_forgotten_at_the_next_try(
    store: FirestoreOrderStore, commits: FaultyCommits, error: type[GoogleAPICallError]
) -> None:
    order, again = an_order(), an_order()
    store.create(order, a_key(order, "key"))
    commits.lose_the_request(error)

    assert store.forget_keys(NOW + LEASE, limit=10) == 1
    assert store.create(again, a_key(again, "key")).order == again


def test_a_store_that_keeps_failing_is_unavailable_and_the_same_request_finishes_later(
    store: FirestoreOrderStore, commits: FaultyCommits
) -> None:
    order, claim = an_order(), a_claim()
    store.create(order, a_key(order))
    commits.lose_the_request(ServiceUnavailable, times=100)

    with pytest.raises(Unavailable):
        store.apply(order.id, claim, NOW)
    assert commits.asked < 20
    commits.recover()
    assert store.apply(order.id, claim, NOW).epoch == 1


def test_a_store_that_cannot_be_reached_is_unavailable(unreachable: FirestoreOrderStore) -> None:
    order = an_order()

    with pytest.raises(Unavailable):
        unreachable.get(order.id)
    with pytest.raises(Unavailable):
        unreachable.claimable([order.lane], NOW, limit=1)


def test_a_fault_that_no_repeat_can_mend_is_not_called_passing(
    store: FirestoreOrderStore, commits: FaultyCommits
) -> None:
    order = an_order()
    commits.lose_the_request(PermissionDenied)

    with pytest.raises(PermissionDenied):
        store.create(order, a_key(order, str(uuid4())))
    assert commits.asked == 1


@pytest.mark.parametrize(
    "query",
    [
        lambda store: store.page(OrderQuery(lane=LONG)),
        lambda store: store.count(OrderQuery(lane=LONG)),
        lambda store: store.page(OrderQuery(account=LONG)),
        lambda store: store.claimable(["any/task", LONG], NOW, limit=1),
        lambda store: store.remembering(LONG),
        lambda store: store.held_by(LONG),
    ],
    ids=["a list's lane", "a count's", "an account", "a claim's lanes", "a request", "a launcher"],
)
def test_a_value_that_firestore_does_not_look_for_is_the_callers_fault_and_is_logged(
    store: FirestoreOrderStore, query: Callable[[FirestoreOrderStore], object]
) -> None:
    with capture_logs() as lines, pytest.raises(Invalid):
        query(store)

    assert [line["log_level"] for line in lines] == ["error"]
    assert LONG not in str(lines)


def test_a_records_value_that_firestore_does_not_look_for_is_the_callers_fault(firestore_client: Client) -> None:
    with pytest.raises(Invalid):
        FirestoreRecords(firestore_client, "accounts", Account).find("id", LONG, 1)


def test_a_write_that_firestore_refuses_is_our_own_error(store: FirestoreOrderStore) -> None:
    order = an_order(message="x" * 1024 * 1024)

    with pytest.raises(InvalidArgument):
        store.create(order, a_key(order))


def cancelled(store: FirestoreOrderStore) -> str:
    """Return the id of a stored order that has ended."""
    order = an_order()
    store.create(order, a_key(order))
    return store.apply(order.id, Cancel(str(uuid4())), NOW).id
