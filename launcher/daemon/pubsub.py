"""Pulls bells from Google Cloud Pub/Sub, which delivers at least once.

It does not use streaming pull: a stream's number of messages is fixed when it is opened. A launcher whose room changes
would have to open a new stream each time, and bells on their way to the old one would be late or lost (ADR 6).
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from math import ceil
from typing import Any, Final

import structlog
from google.api_core.exceptions import DeadlineExceeded, GoogleAPIError
from google.auth.exceptions import GoogleAuthError
from google.cloud.pubsub_v1 import SubscriberClient

from launcher.daemon.bells import BellsUnavailable, DeliveredBell
from shared.log_events import LogEvent
from shared.wire.bell import MalformedBell, from_attributes

PULL_SECONDS: Final = 5.0
"""How long one request waits for bells, and therefore how long a shutdown may wait for it."""
ANSWER_SECONDS: Final = 10.0
AT_ONCE: Final = timedelta()

log = structlog.get_logger(__name__)


class PubSubListener:
    """`subscription_path` is `projects/<project>/subscriptions/<subscription>`."""

    def __init__(self, subscriber: SubscriberClient, subscription_path: str) -> None:
        self._subscriber, self._subscription = subscriber, subscription_path

    def pull(self, most: int) -> Sequence[DeliveredBell]:
        request = {"subscription": self._subscription, "max_messages": most}
        try:
            answer = self._subscriber.pull(request=request, timeout=PULL_SECONDS, retry=None)
        except DeadlineExceeded:
            return []
        except (GoogleAPIError, GoogleAuthError) as error:
            raise BellsUnavailable("Bells cannot be received now.") from error
        return [delivered for received in answer.received_messages if (delivered := self._read(received)) is not None]

    def acknowledge(self, delivered: DeliveredBell) -> None:
        _answer(self._subscriber.acknowledge, subscription=self._subscription, ack_ids=[delivered.receipt])

    def give_back(self, delivered: DeliveredBell, after: timedelta) -> None:
        self._deliver_again(delivered.receipt, after)

    def _read(self, received: Any) -> DeliveredBell | None:
        """Read a message. Give a malformed one back: after several deliveries, it becomes a dead letter."""
        try:
            return DeliveredBell(from_attributes(received.message.attributes), received.ack_id)
        except MalformedBell:
            if received.delivery_attempt <= 1:
                log.warning(
                    LogEvent.BELL_MALFORMED,
                    message="A bell is malformed: after several deliveries, it becomes a dead letter.",
                    message_id=received.message.message_id,
                )
            self._deliver_again(received.ack_id, AT_ONCE)
            return None

    def _deliver_again(self, receipt: str, after: timedelta) -> None:
        seconds = ceil(after.total_seconds())
        method = self._subscriber.modify_ack_deadline
        _answer(method, subscription=self._subscription, ack_ids=[receipt], ack_deadline_seconds=seconds)


def _answer(method: Callable[..., Any], **request: Any) -> None:
    """Send the broker one answer about a bell. Raises BellsUnavailable; then the bell is delivered again."""
    try:
        method(request=request, timeout=ANSWER_SECONDS, retry=None)
    except (GoogleAPIError, GoogleAuthError) as error:
        raise BellsUnavailable("Bells cannot be answered now.") from error
