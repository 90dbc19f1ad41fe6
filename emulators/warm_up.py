"""An emulator's first answers, asked for with a patience that the product does not have.

A new emulator loads its classes as it is asked: on a busy machine its first answer of a kind takes longer than the
product waits. Google's libraries find the emulators by the environment.
"""

from typing import Final

from google.cloud.firestore import Client
from google.cloud.firestore_v1.base_query import FieldFilter
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient

PROJECT: Final = "warm-up"
SECONDS: Final = 180.0


def firestore() -> None:
    """Wait for a first write, read, query, count and deletion. Raises GoogleAPICallError."""
    client = Client(project=PROJECT)
    collection = client.collection("warm")
    document = collection.document("up")
    document.set({"warm": True}, timeout=SECONDS)
    document.get(timeout=SECONDS)
    list(collection.where(filter=FieldFilter("warm", "==", True)).stream(timeout=SECONDS))
    collection.count().get(timeout=SECONDS)  # type: ignore[no-untyped-call]
    document.delete(timeout=SECONDS)
    client.close()  # type: ignore[no-untyped-call]


def pubsub() -> None:
    """Wait for a first topic, subscription, message sent and message heard. Raises GoogleAPICallError."""
    with PublisherClient() as publisher, SubscriberClient() as subscriber:
        topic = publisher.topic_path(PROJECT, "warm-up")
        subscription = subscriber.subscription_path(PROJECT, "warm-up")
        publisher.create_topic(request={"name": topic}, timeout=SECONDS)
        subscriber.create_subscription(request={"name": subscription, "topic": topic}, timeout=SECONDS)
        publisher.publish(topic, b"warm").result(SECONDS)
        subscriber.pull(request={"subscription": subscription, "max_messages": 1}, timeout=SECONDS)
