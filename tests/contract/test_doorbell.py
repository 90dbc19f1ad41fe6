"""What every doorbell promises, over the in-memory one and the Pub/Sub emulator."""

import threading
from collections.abc import Callable, Iterator
from typing import Final, Protocol
from uuid import uuid4

import pytest
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.cloud.pubsub_v1.subscriber.futures import StreamingPullFuture
from structlog.testing import capture_logs

from emulators.doorbell import DoorbellPaths, ensure_topic_and_subscription
from shared.adapters import pubsub as pubsub_adapter
from shared.adapters.memory import MemoryDoorbell
from shared.adapters.pubsub import PubSubDoorbell, PubSubListener
from shared.domain.refusals import Unavailable
from shared.ports import Bell, BellListener, Doorbell

SECONDS: Final = 30.0
"""How long anything may take before a test fails."""
LANE: Final = "any/task"


class Rig(Protocol):
    @property
    def doorbell(self) -> Doorbell: ...

    @property
    def listener(self) -> BellListener: ...


class MemoryRig:
    def __init__(self) -> None:
        self.doorbell = MemoryDoorbell()
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
    publisher, subscriber = PublisherClient(), SubscriberClient()
    yield PubSubRig(publisher, subscriber)
    publisher.stop()
    publisher.transport.close()
    subscriber.close()


@pytest.fixture(params=["memory", pytest.param("pubsub", marks=pytest.mark.emulator)])
def rig(request: pytest.FixtureRequest) -> Rig:
    found: Rig = request.getfixturevalue(request.param)
    return found


class Ear:
    """Hears bells: notes each, and answers what `answer` says."""

    def __init__(self, answer: Callable[[Bell], bool] = lambda _: True) -> None:
        self._answer = answer
        self._changed = threading.Condition()
        self.heard: list[Bell] = []
        self.under_way = 0
        self.most_under_way = 0

    def __call__(self, bell: Bell) -> bool:
        with self._changed:
            self.heard.append(bell)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            self._changed.notify_all()
        try:
            return self._answer(bell)
        finally:
            with self._changed:
                self.under_way -= 1
                self._changed.notify_all()

    def wait(self, fulfilled: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(fulfilled, SECONDS), f"heard only {self.heard}"


def a_bell() -> Bell:
    return Bell(str(uuid4()), LANE)


def test_a_bell_is_heard(rig: Rig) -> None:
    bell, ear = a_bell(), Ear()
    listening = rig.listener.listen(ear, most=2)
    rig.doorbell.ring(bell)
    ear.wait(lambda: bell in ear.heard)
    listening.stop()


def test_a_bell_rung_while_nobody_listens_is_heard_later(rig: Rig) -> None:
    bell, ear = a_bell(), Ear()
    rig.doorbell.ring(bell)
    listening = rig.listener.listen(ear, most=2)
    ear.wait(lambda: bell in ear.heard)
    listening.stop()


def test_a_bell_given_back_is_heard_again(rig: Rig) -> None:
    bell = a_bell()
    ear = Ear(lambda _: len(ear.heard) > 1)
    listening = rig.listener.listen(ear, most=1)
    rig.doorbell.ring(bell)
    ear.wait(lambda: ear.heard == [bell, bell])
    listening.stop()


@pytest.mark.parametrize("most", [1, 3, 12])
def test_no_more_bells_than_asked_for_are_under_way_and_as_many_as_asked_for(rig: Rig, most: int) -> None:
    full = threading.Event()

    def hold(_: Bell) -> bool:
        if ear.under_way == most:
            full.set()
        return full.wait(SECONDS)

    ear = Ear(hold)
    bells = [a_bell() for _ in range(2 * most + 1)]
    for bell in bells:
        rig.doorbell.ring(bell)
    listening = rig.listener.listen(ear, most)
    ear.wait(lambda: set(bells) <= set(ear.heard))
    listening.stop()
    assert ear.most_under_way == most


def test_after_a_stop_no_call_is_under_way_and_what_was_not_handled_is_heard_by_the_next(rig: Rig) -> None:
    stopping = threading.Event()
    first = Ear(lambda _: stopping.wait(SECONDS))
    bells = [a_bell() for _ in range(5)]
    listening = rig.listener.listen(first, most=2)
    for bell in bells:
        rig.doorbell.ring(bell)
    first.wait(lambda: first.under_way == 2)
    stopper = threading.Thread(target=listening.stop)
    stopper.start()
    stopping.set()
    stopper.join(SECONDS)
    assert not stopper.is_alive()
    assert first.under_way == 0

    second = Ear()
    listening = rig.listener.listen(second, most=2)
    second.wait(lambda: set(bells) <= {*first.heard, *second.heard})
    listening.stop()
    assert not set(first.heard) & set(second.heard), "an answered bell came again"


def test_a_bell_given_back_while_stopping_is_heard_by_the_next(rig: Rig) -> None:
    bell, stopping = a_bell(), threading.Event()
    first = Ear(lambda _: not stopping.wait(SECONDS))
    listening = rig.listener.listen(first, most=1)
    rig.doorbell.ring(bell)
    first.wait(lambda: first.under_way == 1)
    stopper = threading.Thread(target=listening.stop)
    stopper.start()
    stopping.set()
    stopper.join(SECONDS)
    second = Ear()
    listening = rig.listener.listen(second, most=1)
    second.wait(lambda: bell in second.heard)
    listening.stop()


def test_a_stop_before_anything_was_heard_returns(rig: Rig) -> None:
    rig.listener.listen(Ear(), most=1).stop()


@pytest.mark.emulator
@pytest.mark.parametrize("attributes", [{}, {"order_id": "1"}, {"order_id": "", "lane": LANE}, {"lane": LANE}])
def test_a_malformed_bell_is_never_passed_on_and_stops_nothing(pubsub: PubSubRig, attributes: dict[str, str]) -> None:
    bell, ear = a_bell(), Ear()
    pubsub.publisher.publish(pubsub.paths.topic, b"x", **attributes).result(SECONDS)
    listening = pubsub.listener.listen(ear, most=1)
    pubsub.doorbell.ring(bell)
    ear.wait(lambda: bell in ear.heard)
    listening.stop()
    assert ear.heard == [bell]


@pytest.mark.emulator
def test_a_malformed_bell_is_told_of_once_and_ends_among_the_dead_letters(pubsub: PubSubRig) -> None:
    dead = pubsub.subscriber.subscription_path(pubsub.paths.topic.split("/")[1], "dead")
    pubsub.subscriber.create_subscription(request={"name": dead, "topic": pubsub.paths.dead_letters})
    with capture_logs() as logged:
        message_id = pubsub.publisher.publish(pubsub.paths.topic, b"x").result(SECONDS)
        listening = pubsub.listener.listen(Ear(), most=1)
        answer = pubsub.subscriber.pull(request={"subscription": dead, "max_messages": 1}, timeout=SECONDS)
        listening.stop()
    assert [received.message.data for received in answer.received_messages] == [b"x"]
    assert logged == [{"event": "doorbell.malformed", "log_level": "warning", "message_id": message_id}]


@pytest.mark.emulator
def test_a_listener_that_fails_is_asked_again_on_the_same_stream(pubsub: PubSubRig) -> None:
    def fail_once(_: Bell) -> bool:
        if len(ear.heard) == 1:
            raise LookupError("the first time")
        return True

    bell, ear = a_bell(), Ear(fail_once)
    with capture_logs() as logged:
        listening = pubsub.listener.listen(ear, most=1)
        pubsub.doorbell.ring(bell)
        ear.wait(lambda: ear.heard == [bell, bell])
        listening.stop()
    assert [entry["event"] for entry in logged] == ["doorbell.listener_failed"]


@pytest.mark.emulator
def test_a_broker_that_does_not_take_the_bell_is_unavailable(pubsub: PubSubRig) -> None:
    with pytest.raises(Unavailable):
        PubSubDoorbell(pubsub.publisher, f"{pubsub.paths.topic}-that-is-not-there").ring(a_bell())


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once a stream has been closed."""
    event, close = threading.Event(), pubsub_adapter._close

    def close_and_tell(stream: StreamingPullFuture) -> None:
        close(stream)
        event.set()

    monkeypatch.setattr(pubsub_adapter, "_close", close_and_tell)
    return event


@pytest.mark.emulator
def test_a_stream_stays_open_for_the_answer_of_a_call_under_way(pubsub: PubSubRig, closed: threading.Event) -> None:
    closed_during_the_call: list[bool] = []

    def outlast_the_stop(_: Bell) -> bool:
        closed_during_the_call.append(closed.wait(1))
        return True

    ear = Ear(outlast_the_stop)
    listening = pubsub.listener.listen(ear, most=1)
    pubsub.doorbell.ring(a_bell())
    ear.wait(lambda: ear.under_way == 1)
    listening.stop()
    assert closed_during_the_call == [False]
    assert closed.is_set()


@pytest.mark.emulator
def test_a_listener_whose_subscription_was_missing_hears_once_it_is_there(
    pubsub: PubSubRig, closed: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pubsub_adapter, "REOPEN_SECONDS", 0.1)
    bell, ear = a_bell(), Ear()
    pubsub.subscriber.delete_subscription(request={"subscription": pubsub.paths.subscription})
    listening = pubsub.listener.listen(ear, most=1)
    assert closed.wait(SECONDS)
    project = pubsub.paths.topic.split("/")[1]
    ensure_topic_and_subscription(pubsub.publisher, pubsub.subscriber, project, "orders", "launchers")
    pubsub.doorbell.ring(bell)
    ear.wait(lambda: bell in ear.heard)
    listening.stop()
