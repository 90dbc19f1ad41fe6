"""The doorbell over Google Cloud Pub/Sub: delivered at least once, and heard by streaming pull."""

import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from typing import Final

import structlog
from google.api_core.exceptions import GoogleAPIError
from google.api_core.retry import Retry
from google.auth.exceptions import GoogleAuthError
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.cloud.pubsub_v1.subscriber.futures import StreamingPullFuture
from google.cloud.pubsub_v1.subscriber.message import Message
from google.cloud.pubsub_v1.subscriber.scheduler import ThreadScheduler
from google.cloud.pubsub_v1.types import FlowControl

from shared.domain.refusals import Malformed, Unavailable
from shared.messages import from_attributes, to_attributes
from shared.ports import Bell, Heard

PUBLISH_SECONDS: Final = 10.0
RETRY: Final = Retry(initial=0.1, maximum=2.0, timeout=PUBLISH_SECONDS)
LEASE_SECONDS: Final = 60.0
"""How long the library renews a bell that is being handled; none is ever held for a machine's lifetime."""
RENEWAL_SECONDS: Final = 10  # whole: the library copies it into an integer field
"""For how long at a time, the least that Pub/Sub allows: the bells of a launcher that died come again after it, and so
do those that were on their way to one that stopped, which nobody is there to give back."""
REOPEN_SECONDS: Final = 10.0

log = structlog.get_logger(__name__)


class PubSubDoorbell:
    """`topic_path` is `projects/<project>/topics/<topic>`."""

    def __init__(self, publisher: PublisherClient, topic_path: str) -> None:
        self._publisher, self._topic_path = publisher, topic_path

    def ring(self, bell: Bell) -> None:
        attributes = to_attributes(bell)
        try:
            answer = self._publisher.publish(self._topic_path, b"", retry=RETRY, timeout=PUBLISH_SECONDS, **attributes)
            answer.result(PUBLISH_SECONDS)
        except (GoogleAPIError, GoogleAuthError, TookTooLong) as error:
            raise Unavailable("The doorbell cannot be rung now.") from error


class PubSubListener:
    """`subscription_path` is `projects/<project>/subscriptions/<subscription>`."""

    def __init__(self, subscriber: SubscriberClient, subscription_path: str) -> None:
        self._subscriber, self._subscription_path = subscriber, subscription_path

    def listen(self, heard: Heard, most: int) -> "_PubSubListening":
        return _PubSubListening(self._subscriber, self._subscription_path, heard, most)


class _PubSubListening:
    """One thread that keeps a stream open: the library gives one up where the answer is, say, `permission denied`."""

    def __init__(self, subscriber: SubscriberClient, subscription_path: str, heard: Heard, most: int) -> None:
        self._subscriber, self._subscription_path = subscriber, subscription_path
        self._heard, self._most = heard, most
        self._stopping = threading.Event()
        self._stream_is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="doorbell", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._stream_is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._hear_one_stream()
            self._stopping.wait(REOPEN_SECONDS)
            self._stream_is_over.clear()

    def _hear_one_stream(self) -> None:
        # The library's own pool has 10 threads: with a larger `most` it would hold bells that nobody handles.
        pool = ThreadPoolExecutor(self._most, thread_name_prefix="bell")
        flow = FlowControl(
            max_messages=self._most,
            max_lease_duration=LEASE_SECONDS,
            max_duration_per_lease_extension=RENEWAL_SECONDS,
        )
        stream = self._subscriber.subscribe(
            self._subscription_path,
            callback=self._on_message,
            flow_control=flow,
            scheduler=ThreadScheduler(pool),
            await_callbacks_on_shutdown=True,  # or the answers of the calls under way would be lost
        )
        stream.add_done_callback(lambda _: self._stream_is_over.set())
        self._stream_is_over.wait()
        _close(stream)
        pool.shutdown(wait=True)  # whatever became of the stream, no call is under way from here on

    def _on_message(self, message: Message) -> None:
        bell = None if self._stopping.is_set() else _read(message)
        if bell is not None and self._ask(bell, message):
            message.ack()
        else:
            message.nack()

    def _ask(self, bell: Bell, message: Message) -> bool:
        try:
            return self._heard(bell)
        except Exception:  # whatever a listener raises, it must not make its launcher deaf
            log.exception("doorbell.listener_failed", message_id=message.message_id, order_id=bell.order_id)
            return False


def _read(message: Message) -> Bell | None:
    """Return None for a malformed message: given back, it becomes a dead letter in the end."""
    try:
        return from_attributes(message.attributes)
    except Malformed:
        if message.delivery_attempt in (None, 1):
            log.warning("doorbell.malformed", message_id=message.message_id)
        return None


def _close(stream: StreamingPullFuture) -> None:
    """Give back what is undelivered, and wait for the calls under way and for their answers to be sent."""
    stream.cancel()
    try:
        # A call that takes longer than the lease has lost its bell already: nobody waits for its answer.
        error = stream.exception(LEASE_SECONDS)
    except TookTooLong:
        log.warning("doorbell.slow_to_close")
        return
    if error is not None:
        log.warning("doorbell.stream_ended", error=str(error), again_in_seconds=REOPEN_SECONDS)
