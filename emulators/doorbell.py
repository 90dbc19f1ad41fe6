"""The topics and the subscription of the local stack, as Terraform creates them in production."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from google.api_core.exceptions import AlreadyExists
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient

ATTEMPTS: Final = 5
ACK_DEADLINE_SECONDS: Final = 30
"""Longer than a claim, which times out after 15 s."""


@dataclass(frozen=True, slots=True)
class DoorbellPaths:
    topic: str
    subscription: str
    dead_letters: str
    """The topic of messages that could not be handled."""


def ensure_topic_and_subscription(
    publisher: PublisherClient, subscriber: SubscriberClient, project: str, topic: str, subscription: str
) -> DoorbellPaths:
    """Create whichever is missing, and return the full names."""
    paths = DoorbellPaths(
        topic=publisher.topic_path(project, topic),
        subscription=subscriber.subscription_path(project, subscription),
        dead_letters=publisher.topic_path(project, f"{topic}-dead-letters"),
    )
    _ensure(publisher.create_topic, {"name": paths.topic})
    _ensure(publisher.create_topic, {"name": paths.dead_letters})
    _ensure(subscriber.create_subscription, _subscription(paths))
    return paths


def _subscription(paths: DoorbellPaths) -> dict[str, Any]:
    return {
        "name": paths.subscription,
        "topic": paths.topic,
        "ack_deadline_seconds": ACK_DEADLINE_SECONDS,
        "expiration_policy": {},  # without a ttl it never expires; the default is after 31 idle days
        "retry_policy": {"minimum_backoff": timedelta(seconds=1), "maximum_backoff": timedelta(seconds=60)},
        "dead_letter_policy": {"dead_letter_topic": paths.dead_letters, "max_delivery_attempts": ATTEMPTS},
    }


def _ensure(create: Callable[..., object], request: dict[str, Any]) -> None:
    try:
        create(request=request)
    except AlreadyExists:
        return
