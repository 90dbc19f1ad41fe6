"""The contract of every doorbell, over the in-memory one and the Pub/Sub emulator."""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final, Protocol
from uuid import uuid4

import pytest
from google.api_core.exceptions import DeadlineExceeded
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.types import PubsubMessage
from structlog.testing import capture_logs

from emulators.doorbell import ATTEMPTS, DoorbellPaths, ensure_topic_and_subscription
from functions.adapters.pubsub import PubSubDoorbell
from functions.domain.order import RING_GRACE
from functions.domain.refusals import Unavailable
from functions.engine.outputs import Outputs
from functions.engine.sweep import Sweep
from functions.ports.doorbell import Doorbell
from launcher.daemon.bells import BellListener, BellsUnavailable, DeliveredBell
from launcher.daemon.pubsub import PubSubListener
from shared.log_events import LogEvent
from shared.wire.bell import ORDER_ID, Bell
from tests.factories import a_key, an_order
from tests.functions.world import Bells, Clock, ports_for
from tests.memory_doorbell import MemoryDoorbell

MAX_SECONDS: Final = 300.0
"""How long a test waits before it fails."""
LANE: Final = "any/task"
AT_ONCE: Final = timedelta()
DELIVERIES: Final = "CloudPubSubDeadLetterSourceDeliveryCount"
"""The attribute of a dead letter that says how often it was delivered."""


class Rig(Protocol):
    @property
    def doorbell(self) -> Doorbell: ...

    @property
    def listener(self) -> BellListener: ...


class MemoryRig:
    def __init__(self) -> None:
        self.doorbell = MemoryDoorbell(patience=0.05)
        self.listener = self.doorbell


class PubSubRig:
    def __init__(self, publisher: PublisherClient, subscriber: SubscriberClient) -> None:
        self.publisher, self.subscriber = publisher, subscriber
        project = f"test-{uuid4()}"
        self.paths: DoorbellPaths = ensure_topic_and_subscription(publisher, subscriber, project, "orders", "launchers")
        self.doorbell = PubSubDoorbell(publisher, self.paths.topic)
        self.listener = PubSubListener(subscriber, self.paths.subscription)


@pytest.fixture
def memory() -> MemoryRig:
    return MemoryRig()


@pytest.fixture
def pubsub(pubsub_host: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PubSubRig]:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_host)
    monkeypatch.setattr("launcher.daemon.pubsub.PULL_SECONDS", 1.0)
    publisher, subscriber = PublisherClient(), SubscriberClient()
    yield PubSubRig(publisher, subscriber)
    publisher.stop()
    publisher.transport.close()
    subscriber.close()


@pytest.fixture(params=["memory", pytest.param("pubsub", marks=pytest.mark.emulator)])
def rig(request: pytest.FixtureRequest) -> Rig:
    found: Rig = request.getfixturevalue(request.param)
    return found


def a_bell() -> Bell:
    return Bell(str(uuid4()), LANE)


def ring(rig: Rig, count: int) -> list[Bell]:
    bells = [a_bell() for _ in range(count)]
    for bell in bells:
        rig.doorbell.ring(bell)
    return bells


def pull(rig: Rig, count: int, most: int = 10) -> list[DeliveredBell]:
    """Pull until this number of bells was delivered."""
    delivered: list[DeliveredBell] = []
    deadline = time.monotonic() + MAX_SECONDS
    while len(delivered) < count:
        assert time.monotonic() < deadline, f"delivered only {delivered}"
        delivered += rig.listener.pull(most)
    return delivered


def dead_letters(pubsub: PubSubRig) -> str:
    """Return a subscription to the dead letters from now on."""
    dead: str = pubsub.subscriber.subscription_path(pubsub.paths.topic.split("/")[1], "dead")
    pubsub.subscriber.create_subscription(request={"name": dead, "topic": pubsub.paths.dead_letters})
    return dead


def until_dead(pubsub: PubSubRig, dead: str) -> tuple[list[Bell], list[PubsubMessage]]:
    """Give back what is delivered until there is a dead letter; return the delivered bells and the dead letters."""
    delivered: list[Bell] = []
    deadline = time.monotonic() + MAX_SECONDS
    while time.monotonic() < deadline:
        for one in pubsub.listener.pull(1):
            delivered.append(one.bell)
            pubsub.listener.give_back(one, AT_ONCE)
        with suppress(DeadlineExceeded):
            answer = pubsub.subscriber.pull(request={"subscription": dead, "max_messages": 9}, timeout=0.5, retry=None)
            if answer.received_messages:
                return delivered, [received.message for received in answer.received_messages]
    raise AssertionError(f"nothing died; delivered {delivered}")


def names(delivered: Sequence[DeliveredBell]) -> list[str]:
    return sorted(one.bell.order_id for one in delivered)


def test_a_bell_is_delivered_with_all_its_attributes(rig: Rig) -> None:
    [bell] = ring(rig, 1)
    assert [one.bell for one in pull(rig, 1)] == [bell]


def test_a_pull_without_bells_is_no_error(rig: Rig) -> None:
    assert rig.listener.pull(1) == []


def test_an_acknowledged_bell_is_not_delivered_again_and_the_next_one_is(rig: Rig) -> None:
    ring(rig, 1)
    rig.listener.acknowledge(pull(rig, 1)[0])
    [following] = ring(rig, 1)
    assert [one.bell for one in pull(rig, 1)] == [following]


def test_a_bell_given_back_is_delivered_again(rig: Rig) -> None:
    [bell] = ring(rig, 1)
    rig.listener.give_back(pull(rig, 1)[0], AT_ONCE)
    assert [one.bell for one in pull(rig, 1)] == [bell]


def test_a_bell_given_back_for_later_does_not_come_before_the_others(rig: Rig) -> None:
    [bell] = ring(rig, 1)
    rig.listener.give_back(pull(rig, 1)[0], timedelta(minutes=5))
    others = ring(rig, 3)
    assert names(pull(rig, 3)) == sorted(other.order_id for other in others)
    assert bell not in [one.bell for one in rig.listener.pull(10)]


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_bells_are_delivered_at_once_than_asked_for_and_none_is_lost(rig: Rig, most: int) -> None:
    bells = ring(rig, 7)
    delivered: list[DeliveredBell] = []
    deadline = time.monotonic() + MAX_SECONDS
    while len(delivered) < len(bells):
        assert time.monotonic() < deadline
        some = rig.listener.pull(most)
        assert len(some) <= most
        delivered += some
    assert names(delivered) == sorted(bell.order_id for bell in bells)


def test_bells_are_delivered_after_many_silent_times(rig: Rig) -> None:
    for _ in range(3):
        assert rig.listener.pull(1) == []
    [bell] = ring(rig, 1)
    assert [one.bell for one in pull(rig, 1)] == [bell]


@pytest.mark.emulator
@pytest.mark.parametrize("attributes", [{}, {"order_id": "1"}, {"order_id": "", "lane": LANE}, {"lane": LANE}])
def test_a_malformed_bell_is_never_passed_on_and_stops_nothing(pubsub: PubSubRig, attributes: dict[str, str]) -> None:
    pubsub.publisher.publish(pubsub.paths.topic, b"x", **attributes).result(MAX_SECONDS)
    [bell] = ring(pubsub, 1)
    assert [one.bell for one in pull(pubsub, 1, most=1)] == [bell]


@pytest.mark.emulator
def test_a_malformed_bell_is_logged_once_and_becomes_a_dead_letter(pubsub: PubSubRig) -> None:
    dead = dead_letters(pubsub)
    message_id = pubsub.publisher.publish(pubsub.paths.topic, b"x").result(MAX_SECONDS)

    with capture_logs() as logged:
        delivered, [letter] = until_dead(pubsub, dead)

    assert (delivered, letter.data) == ([], b"x")
    assert letter.attributes[DELIVERIES] == str(ATTEMPTS)
    assert [(line["event"], line["message_id"]) for line in logged] == [(LogEvent.BELL_MALFORMED, message_id)]


@pytest.mark.emulator
def test_a_bell_that_was_given_back_too_often_is_a_dead_letter_and_its_order_is_rung_for_again(
    pubsub: PubSubRig,
) -> None:
    clock = Clock()
    ports = ports_for(clock, Bells())
    outputs = Outputs(ports.store, ports.bucket, clock, ports.new_id, after_end=lambda _: None)
    order = an_order()
    ports.store.create(order, a_key(order))
    bell = Bell(order.id, order.lane)
    dead = dead_letters(pubsub)
    pubsub.doorbell.ring(bell)

    delivered, [letter] = until_dead(pubsub, dead)
    clock.now += RING_GRACE
    swept = Sweep(ports.store, pubsub.doorbell, outputs, clock, ports.new_id).run(limit=10)

    assert (delivered, letter.attributes[ORDER_ID]) == ([bell] * ATTEMPTS, order.id)
    assert swept.done["rung"] == 1
    assert [one.bell for one in pull(pubsub, 1)] == [bell]


@pytest.mark.emulator
def test_a_broker_that_does_not_take_the_bell_is_unavailable(pubsub: PubSubRig) -> None:
    with pytest.raises(Unavailable):
        PubSubDoorbell(pubsub.publisher, f"{pubsub.paths.topic}-that-is-not-there").ring(a_bell())


@pytest.mark.emulator
def test_a_subscription_that_is_not_there_is_unavailable_and_delivers_once_it_is(pubsub: PubSubRig) -> None:
    pubsub.subscriber.delete_subscription(request={"subscription": pubsub.paths.subscription})
    with pytest.raises(BellsUnavailable):
        pubsub.listener.pull(1)
    project = pubsub.paths.topic.split("/")[1]
    ensure_topic_and_subscription(pubsub.publisher, pubsub.subscriber, project, "orders", "launchers")
    [bell] = ring(pubsub, 1)
    assert [one.bell for one in pull(pubsub, 1)] == [bell]
