"""Orders that another version wrote: the store reads what it can, and skips the rest."""

from dataclasses import replace

import pytest
from google.cloud.firestore import Client
from structlog.testing import capture_logs

from functions.adapters.firestore import ORDERS, FirestoreOrderStore
from functions.adapters.records import FirestoreRecords
from functions.domain.events import Provision
from functions.domain.refusals import Unavailable
from functions.ports.orders import OrderQuery, UnreadableOrder
from shared.domain.order import State
from tests.factories import LAUNCHER, NOW, Challenge, a_claim, a_key, an_order

pytestmark = pytest.mark.emulator


@pytest.fixture
def store(firestore_client: Client) -> FirestoreOrderStore:
    return FirestoreOrderStore(firestore_client)


def test_fields_that_a_later_version_added_are_left_out(store: FirestoreOrderStore, firestore_client: Client) -> None:
    order = an_order()
    store.create(order, a_key(order))
    firestore_client.collection(ORDERS).document(order.id).update({"newer": 1, "spec.newer": 1})

    assert store.get(order.id) == order


def test_an_unreadable_order_does_not_affect_others(store: FirestoreOrderStore, firestore_client: Client) -> None:
    good, bad = an_order(due_at=NOW), an_order(due_at=NOW)
    for order in (good, bad):
        store.create(order, a_key(order))
    firestore_client.collection(ORDERS).document(bad.id).update({"spec.command": "not a list"})

    with capture_logs() as logged:
        assert [found.order for found in store.due({State.QUEUED}, NOW, limit=10).orders] == [good]
        assert store.get_many([good.id, bad.id]) == {good.id: store.read(good.id), bad.id: UnreadableOrder(bad.id)}
        assert store.page(OrderQuery()).orders == [good]
    (line,) = logged  # once, however often the document is read
    assert (line["documents"], line["fields"], line["skipped"]) == ([bad.id], ["spec.task.command"], 1)
    with pytest.raises(Unavailable):
        store.get(bad.id)


def test_fields_of_a_later_version_stay_when_this_one_changes_the_order(
    store: FirestoreOrderStore, firestore_client: Client
) -> None:
    order = an_order()
    store.create(order, a_key(order))
    document = firestore_client.collection(ORDERS).document(order.id)
    document.update({"newer": 1, "spec.newer": 1})

    store.claim(store.read(order.id), a_claim(), NOW)
    store.apply(order.id, Provision("p", 1, LAUNCHER, "vm-1"), NOW)

    stored = document.get().to_dict() or {}
    assert (stored["state"], stored["newer"], stored["spec"]["newer"]) == ("provisioning", 1, 1)


def test_fields_of_a_later_version_stay_when_this_one_changes_a_record(firestore_client: Client) -> None:
    records = FirestoreRecords(firestore_client, "challenges", Challenge)
    records.add("vm", Challenge("vm", "00", NOW, NOW))
    (document,) = firestore_client.collection("challenges").stream()
    document.reference.update({"newer": 1})

    records.change("vm", lambda one: replace(one, nonce="01"))

    stored = document.reference.get().to_dict() or {}
    assert (stored["nonce"], stored["newer"]) == ("01", 1)
