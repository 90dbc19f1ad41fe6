"""The feed reports at once which orders become queued and which are to stop, whoever changed them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from queue import Queue
from typing import Any, Final

import pytest
from google.api_core.exceptions import ServiceUnavailable
from google.cloud.firestore import Client

from emulators.ports import free_port
from emulators.processes import LOOPBACK
from functions.adapters import firestore_feed, order_document
from functions.adapters.firestore import ORDERS, FirestoreOrderStore
from functions.adapters.firestore_feed import WINDOW, FirestoreOrderFeed
from functions.adapters.memory import MemoryOrderStore
from functions.domain.events import Cancel, Return, Ring
from functions.domain.order import Order
from functions.ports.order_feed import OrderFeed
from functions.ports.orders import OrderStore, Snapshot
from shared.domain.order import Reason, State
from tests.chaos.scripted import Scripted
from tests.chaos.store_proxy import proxying
from tests.contract.conftest import stored
from tests.factories import a_claim, an_order
from tests.threads import MAX_SECONDS

LONG_AGO: Final = timedelta(days=1)


class Follower:
    """Keeps what a feed reports. It `waits` for a feed that does not work at once."""

    def __init__(self, feed: OrderFeed, waits: bool = True) -> None:
        self._reported = Queue[Snapshot]()
        self.missed = threading.Semaphore(0)
        self.stop = feed.follow(self._reported.put, self.missed.release)
        if waits:
            assert self.missed.acquire(timeout=MAX_SECONDS)

    def next(self) -> Snapshot:
        return self._reported.get(timeout=MAX_SECONDS)

    def nothing_reported(self) -> bool:
        return self._reported.empty()

    def up_to(self, order: Order) -> list[str]:
        """Return the ids that are reported until this order is, which comes last."""
        heard = [self.next().order.id]
        while heard[-1] != order.id:
            heard.append(self.next().order.id)
        return heard


@pytest.fixture
def follow(request: pytest.FixtureRequest, orders: OrderStore) -> Iterator[Callable[[], Follower]]:
    """Return a function that begins to follow the feed of `orders`."""
    followers = list[Follower]()
    if isinstance(orders, MemoryOrderStore):
        feed: OrderFeed = orders
    else:
        feed = FirestoreOrderFeed(request.getfixturevalue("firestore_client"))

    def begin() -> Follower:
        followers.append(Follower(feed, waits=not isinstance(feed, MemoryOrderStore)))
        return followers[-1]

    yield begin
    for follower in followers:
        follower.stop()


def now() -> datetime:
    return datetime.now(UTC)


def placed(orders: OrderStore) -> Order:
    return stored(orders, an_order(now=now()))


def test_a_new_order_is_reported_as_it_is_stored(orders: OrderStore, follow: Callable[[], Follower]) -> None:
    follower = follow()

    order = placed(orders)

    assert follower.next() == orders.read(order.id)


def test_what_was_reported_can_be_claimed(orders: OrderStore, follow: Callable[[], Follower]) -> None:
    follower = follow()
    order = placed(orders)

    claimed = orders.claim(follower.next(), a_claim(now=now()), now())

    assert (claimed.id, claimed.state) == (order.id, State.CLAIMED)


def test_an_order_that_is_queued_again_is_reported_again(orders: OrderStore, follow: Callable[[], Follower]) -> None:
    follower = follow()
    order = placed(orders)
    follower.up_to(order)
    claim = a_claim(now=now())
    orders.apply(order.id, claim, now())

    orders.apply(order.id, Return("a", 1, claim.launcher, Reason.RETURNED, "no room"), now())

    again = follower.next().order
    while again.epoch == 0:
        again = follower.next().order
    assert (again.id, again.state, again.epoch) == (order.id, State.QUEUED, 1)


def test_a_held_order_that_is_to_stop_is_reported(orders: OrderStore, follow: Callable[[], Follower]) -> None:
    follower = follow()
    order = placed(orders)
    follower.up_to(order)
    claim = a_claim(now=now())
    orders.apply(order.id, claim, now())

    orders.apply(order.id, Cancel("a"), now())

    heard = follower.next().order
    while heard.state is State.QUEUED:
        heard = follower.next().order
    assert heard.lease is not None
    assert (heard.id, heard.lease.launcher) == (order.id, claim.launcher)
    assert heard.cancel_requested_at is not None


def test_other_changes_are_not_reported(orders: OrderStore, follow: Callable[[], Follower]) -> None:
    waiting, ended, held = (stored(orders, an_order(now=now() - LONG_AGO)) for _ in range(3))
    follower = follow()

    orders.apply(waiting.id, Ring("a"), now())
    orders.apply(ended.id, Cancel("b"), now())
    orders.apply(held.id, a_claim(now=now()), held.available_at)
    last = placed(orders)

    assert follower.up_to(last) == [last.id]


def test_nothing_is_reported_any_more_once_it_was_stopped(orders: OrderStore, follow: Callable[[], Follower]) -> None:
    stopped, going_on = follow(), follow()
    stopped.stop()

    order = placed(orders)

    going_on.up_to(order)
    assert stopped.nothing_reported()


class Streams:
    """Stands between the feed and Firestore: keeps what its streams send, and fails as many of them as it is asked to.

    If `nameless`, what is true of some targets is said of all: they are not named.
    """

    def __init__(self, client: Client) -> None:
        self._api: Any = client._firestore_api
        self.failing, self.opened, self.read = 0, 0, set[str]()
        self.nameless = False
        self.may_open = threading.Event()
        self.may_open.set()

    def listen(self, **given: Any) -> Any:
        assert self.may_open.wait(MAX_SECONDS)
        self.opened += 1
        if self.opened <= self.failing:
            raise ServiceUnavailable("Firestore does not answer.")  # type: ignore[no-untyped-call]
        return Stream(self._api.listen(**given), self)


class Stream:
    def __init__(self, responses: Any, streams: Streams) -> None:
        self._responses, self._streams, self.cancel = responses, streams, responses.cancel

    def __iter__(self) -> Iterator[Any]:
        for response in self._responses:
            if "document_change" in response:
                self._streams.read.add(response.document_change.document.name.rpartition("/")[2])
            elif "target_change" in response and self._streams.nameless:
                response.target_change.target_ids = []
            yield response


@pytest.fixture
def streams(firestore_client: Client) -> Streams:
    """The streams of this client's feeds."""
    streams = Streams(firestore_client)
    api: Any = firestore_client._firestore_api

    class Api:
        listen = staticmethod(streams.listen)

        def __getattr__(self, name: str) -> Any:
            return getattr(api, name)

    firestore_client._firestore_api_internal = Api()
    return streams


@pytest.fixture
def following(firestore_client: Client, request: pytest.FixtureRequest) -> Callable[..., Follower]:
    def begin(waits: bool = True, **options: Any) -> Follower:
        follower = Follower(FirestoreOrderFeed(firestore_client, **options), waits)
        request.addfinalizer(follower.stop)
        return follower

    return begin


Following = Callable[..., Follower]


@pytest.mark.emulator
def test_orders_that_were_queued_before_are_not_read(
    firestore_client: Client, streams: Streams, following: Following
) -> None:
    store = FirestoreOrderStore(firestore_client)
    for _ in range(20):
        stored(store, an_order(now=now() - LONG_AGO))
    follower = following()

    order = placed(store)

    assert follower.up_to(order) == [order.id]
    assert streams.read == {order.id}


@pytest.mark.emulator
def test_an_order_of_another_instance_is_reported(firestore_client: Client, following: Following) -> None:
    follower = following()

    with closing(Client(project=firestore_client.project)) as other:
        order = placed(FirestoreOrderStore(other))

    follower.up_to(order)


@pytest.mark.emulator
def test_an_order_of_a_later_version_is_passed_over(
    firestore_client: Client, streams: Streams, following: Following
) -> None:
    follower, store, later = following(), FirestoreOrderStore(firestore_client), an_order(now=now())
    document = order_document.encode(later) | {"reason": "a_reason_of_later"}
    firestore_client.collection(ORDERS).document(later.id).create(document)

    order = placed(store)

    assert follower.up_to(order) == [order.id]
    assert streams.opened == 1


@pytest.mark.emulator
def test_a_feed_that_failed_begins_again_and_says_that_it_may_have_missed_some(
    firestore_client: Client, streams: Streams, following: Following
) -> None:
    streams.failing = 2
    follower = following(waits=False, pause=0.01)

    assert follower.missed.acquire(timeout=MAX_SECONDS)
    follower.up_to(placed(FirestoreOrderStore(firestore_client)))
    assert streams.opened == 3


@pytest.mark.emulator
def test_what_was_stored_while_no_stream_could_be_opened_is_reported(
    firestore_client: Client, streams: Streams, following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firestore_feed, "OVERLAP", timedelta())
    streams.failing = 1
    streams.may_open.clear()
    follower = following(waits=False, pause=0.01)

    order = placed(FirestoreOrderStore(firestore_client))
    streams.may_open.set()

    follower.up_to(order)


@pytest.mark.emulator
@pytest.mark.parametrize("nameless", [False, True])
def test_a_feed_replaces_its_stream_from_time_to_time(
    firestore_client: Client, streams: Streams, following: Following, nameless: bool
) -> None:
    streams.nameless = nameless
    follower = following(stream_seconds=1, pause=2 * MAX_SECONDS)

    for _ in range(2):
        assert follower.missed.acquire(timeout=MAX_SECONDS)
    follower.up_to(placed(FirestoreOrderStore(firestore_client)))
    assert streams.opened >= 3


@pytest.mark.emulator
def test_a_feed_whose_connection_broke_reports_again(
    firestore_client: Client, firestore_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, port = FirestoreOrderStore(firestore_client), free_port()
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"{LOOPBACK}:{port}")
    with closing(Client(project=firestore_client.project)) as client:
        with proxying(firestore_host, Scripted(), port):
            follower = Follower(FirestoreOrderFeed(client, pause=0.01))
            follower.up_to(placed(store))

        with proxying(firestore_host, Scripted(), port):
            assert follower.missed.acquire(timeout=MAX_SECONDS)
            follower.up_to(placed(store))
            follower.stop()


@pytest.mark.emulator
def test_a_version_that_is_sent_again_is_reported_once(firestore_client: Client, following: Following) -> None:
    """As the emulator sends it, whenever another order changes."""
    follower, store = following(), FirestoreOrderStore(firestore_client)
    orders = {placed(store).id for _ in range(5)}
    assert {follower.next().order.id for _ in range(5)} == orders

    last = placed(store)

    assert follower.up_to(last) == [last.id]


@pytest.mark.emulator
def test_more_orders_than_a_stream_follows_are_reported_as_the_later_ones_are_claimed(
    firestore_client: Client, following: Following
) -> None:
    store = FirestoreOrderStore(firestore_client)
    entered = {State.QUEUED: now() + timedelta(seconds=MAX_SECONDS)}  # as recent, however long it takes to store them
    orders = {stored(store, an_order(now=now(), entered=entered)).id for _ in range(2 * WINDOW)}

    follower = following()

    heard = set[str]()
    for _ in range(2 * WINDOW):
        arrived = follower.next()
        heard.add(store.claim(arrived, a_claim(now=now()), now()).id)
    assert heard == orders
