"""Orders that another version wrote: read where they can be, and passed over where not."""

import pytest
from google.cloud.firestore import Client
from structlog.testing import capture_logs

from shared.adapters.firestore import ORDERS, FirestoreOrderStore
from shared.domain.order import State
from shared.domain.refusals import Unavailable
from shared.ports import OrderQuery, Unreadable
from tests.factories import NOW, a_key, an_order

pytestmark = pytest.mark.emulator


@pytest.fixture
def store(firestore_client: Client) -> FirestoreOrderStore:
    return FirestoreOrderStore(firestore_client)


def test_fields_that_a_later_version_added_are_left_out(store: FirestoreOrderStore, firestore_client: Client) -> None:
    order = an_order()
    store.create(order, a_key(order))
    firestore_client.collection(ORDERS).document(order.id).update({"newer": 1, "spec.newer": 1})

    assert store.get(order.id) == order


def test_one_order_that_cannot_be_read_stands_in_no_others_way(
    store: FirestoreOrderStore, firestore_client: Client
) -> None:
    good, bad = an_order(due_at=NOW), an_order(due_at=NOW)
    for order in (good, bad):
        store.create(order, a_key(order))
    firestore_client.collection(ORDERS).document(bad.id).update({"spec.command": "not a list"})

    with capture_logs() as logged:
        assert [found.order for found in store.due({State.QUEUED}, NOW, limit=10).orders] == [good]
        assert store.get_many([good.id, bad.id]) == {good.id: store.look(good.id), bad.id: Unreadable(bad.id)}
        assert store.page(OrderQuery()).orders == [good]
    (said,) = logged  # once, however often it is met
    assert (said["documents"], said["fields"], said["passed_over"]) == ([bad.id], ["spec.task.command"], 1)
    with pytest.raises(Unavailable):
        store.get(bad.id)
