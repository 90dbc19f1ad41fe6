"""The Firestore store behind the proxy that loses, delays and repeats: an order stays one order."""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest
from google.api_core.exceptions import DeadlineExceeded, FailedPrecondition, NotFound, ServiceUnavailable
from google.cloud.firestore import Client

from emulators.processes import LOOPBACK
from functions.adapters.firestore import ORDERS, FirestoreOrderStore
from functions.adapters.firestore_calls import ONCE
from functions.domain.refusals import WrongState
from functions.ports.orders import OrderQuery
from shared.domain.order import State
from tests.chaos.faults import Dice, Kind
from tests.chaos.scripted import Scripted
from tests.chaos.store_proxy import proxying
from tests.factories import NOW, a_claim, a_key, an_order
from tests.threads import at_once

pytestmark = pytest.mark.emulator

LOST = [Kind.DROP, Kind.SILENCE]


@pytest.fixture
def script() -> Scripted:
    return Scripted()


@pytest.fixture
def direct(firestore_client: Client) -> FirestoreOrderStore:
    """The store of the same orders, past the proxy."""
    return FirestoreOrderStore(firestore_client)


@pytest.fixture
def client(
    firestore_client: Client, firestore_host: str, script: Scripted, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    """A client of the same project whose calls go through the proxy."""
    with proxying(firestore_host, script) as port:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"{LOOPBACK}:{port}")
        client = Client(project=firestore_client.project)
        yield client
        client.close()  # type: ignore[no-untyped-call]


@pytest.fixture
def store(client: Client) -> FirestoreOrderStore:
    return FirestoreOrderStore(client)


def test_without_faults_the_proxy_changes_nothing(store: FirestoreOrderStore, direct: FirestoreOrderStore) -> None:
    orders = [an_order() for _ in range(3)]
    for order in orders:
        assert store.create(order, a_key(order)).order == order
    claimed = store.apply(orders[0].id, a_claim(), NOW)

    assert direct.get(orders[0].id) == claimed == store.get(orders[0].id)
    assert {order.id for order in store.page(OrderQuery()).orders} == {order.id for order in orders}
    assert len(store.claimable([orders[0].lane], NOW, 10)) == 2


def test_a_request_that_the_emulator_refuses_has_the_emulators_code(client: Client) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        client.collection(ORDERS).document("nowhere").update({"state": "queued"}, **ONCE)


@pytest.mark.parametrize("kind", [*LOST, Kind.DUPLICATE, Kind.DELAY, Kind.REFUSE])
def test_a_create_whose_commit_met_a_fault_is_stored_once_and_answered(
    store: FirestoreOrderStore, direct: FirestoreOrderStore, script: Scripted, kind: Kind
) -> None:
    order = an_order()
    script.next("commit", kind)

    assert store.create(order, a_key(order)).order == order
    assert direct.page(OrderQuery()).orders == [order]


@pytest.mark.parametrize("kind", [*LOST, Kind.DUPLICATE, Kind.REFUSE])
def test_a_claim_whose_commits_met_faults_is_one_transition(
    store: FirestoreOrderStore, direct: FirestoreOrderStore, script: Scripted, kind: Kind
) -> None:
    order = an_order()
    direct.create(order, a_key(order))
    claim = a_claim()
    script.next("commit", kind, Kind.DROP)

    claimed = store.apply(order.id, claim, NOW)

    assert (claimed.state, claimed.epoch, claimed.attempt) == (State.CLAIMED, 1, 1)
    assert claimed == direct.get(order.id)
    assert claimed.recent == (claim.request_id,)


def test_of_many_claimers_whose_answers_are_lost_one_holds_the_order(
    store: FirestoreOrderStore, direct: FirestoreOrderStore, script: Scripted
) -> None:
    order = an_order()
    direct.create(order, a_key(order))
    script.next("commit", *[Kind.DROP, Kind.DUPLICATE] * 4)
    claims = [a_claim(f"rack/{n}") for n in range(8)]

    answers = at_once([partial(store.apply, order.id, claim, NOW) for claim in claims])

    held = [answer for answer in answers if not isinstance(answer, WrongState)]
    assert held == [direct.get(order.id)]
    assert direct.get(order.id).epoch == 1


def test_a_dropped_answer_is_of_a_commit_that_was_carried_out(client: Client, script: Scripted) -> None:
    document = client.collection(ORDERS).document(str(uuid4()))
    script.next("commit", Kind.DROP)

    with pytest.raises(ServiceUnavailable):
        document.set({"there": True}, **ONCE)
    assert document.get().exists
    assert script.calls == ["commit", "read"]


def test_a_refused_commit_is_not_carried_out(client: Client, script: Scripted) -> None:
    document = client.collection(ORDERS).document(str(uuid4()))
    script.next("commit", Kind.REFUSE)

    with pytest.raises(ServiceUnavailable):
        document.set({"there": True}, **ONCE)
    assert not document.get().exists


def test_a_silent_commit_was_carried_out_and_ends_at_its_callers_deadline(client: Client, script: Scripted) -> None:
    document = client.collection(ORDERS).document(str(uuid4()))
    script.next("commit", Kind.SILENCE)

    with pytest.raises(DeadlineExceeded):
        document.set({"there": True}, retry=ONCE["retry"], timeout=5)
    assert document.get().exists


def test_a_duplicated_commit_is_answered_as_the_second(client: Client, script: Scripted) -> None:
    document = client.collection(ORDERS).document(str(uuid4()))
    document.set({"there": True})
    unchanged = client.write_option(last_update_time=document.get().update_time)
    script.next("commit", Kind.DUPLICATE)

    with pytest.raises(FailedPrecondition):
        document.update({"there": False}, unchanged, **ONCE)
    assert document.get().to_dict() == {"there": False}


def test_a_lost_read_is_read_again(store: FirestoreOrderStore, direct: FirestoreOrderStore, script: Scripted) -> None:
    order = an_order()
    direct.create(order, a_key(order))
    script.next("read", Kind.DROP)
    script.next("query", Kind.DROP, Kind.DELAY)

    assert store.get(order.id) == order
    assert [found.order for found in store.claimable([order.lane], NOW + timedelta(hours=1), 10)] == [order]


def test_dice_of_one_seed_fall_the_same_are_counted_and_can_be_switched_off() -> None:
    recorded: list[str] = []
    odds = {"commit": {Kind.DROP: 0.3, Kind.DUPLICATE: 0.3}}
    dice, same = (Dice(odds, seed=7, record=lambda family, _: recorded.append(family)) for _ in range(2))

    fell = [dice.draw("commit") for _ in range(100)]

    assert fell == [same.draw("commit") for _ in range(100)]
    assert dice.draw("another") is None
    assert dice.counts == same.counts
    assert dice.counts.total() == len([fault for fault in fell if fault is not None]) == len(recorded) / 2
    assert {kind for _, kind in dice.counts} == {Kind.DROP, Kind.DUPLICATE}
    dice.quiet()
    assert {dice.draw("commit") for _ in range(100)} == {None}
