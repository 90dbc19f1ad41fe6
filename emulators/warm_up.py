"""Sends a new emulator its first requests, and waits longer for the answers than the product would.

A new emulator loads its classes on demand: on a busy machine the first answer of each kind takes longer than the
product waits. Google's libraries find the emulators through the environment. They are loaded only here: whoever uses
emulators that run needs no warm-up.
"""

from typing import Final

PROJECT: Final = "warm-up"
TIMEOUT_SECONDS: Final = 180.0


def firestore() -> None:
    """Do a first write, read, query, count and deletion. Raises GoogleAPICallError."""
    from google.cloud.firestore import Client
    from google.cloud.firestore_v1.base_query import FieldFilter

    client = Client(project=PROJECT)
    collection = client.collection("warm")
    document = collection.document("up")
    document.set({"warm": True}, timeout=TIMEOUT_SECONDS)
    document.get(timeout=TIMEOUT_SECONDS)
    list(collection.where(filter=FieldFilter("warm", "==", True)).stream(timeout=TIMEOUT_SECONDS))
    collection.count().get(timeout=TIMEOUT_SECONDS)  # type: ignore[no-untyped-call]
    document.delete(timeout=TIMEOUT_SECONDS)
    client.close()  # type: ignore[no-untyped-call]


def pubsub() -> None:
    """Create a first topic and subscription, publish and pull a message. Raises GoogleAPICallError."""
    from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient

    with PublisherClient() as publisher, SubscriberClient() as subscriber:
        topic = publisher.topic_path(PROJECT, "warm-up")
        subscription = subscriber.subscription_path(PROJECT, "warm-up")
        publisher.create_topic(request={"name": topic}, timeout=TIMEOUT_SECONDS)
        subscriber.create_subscription(request={"name": subscription, "topic": topic}, timeout=TIMEOUT_SECONDS)
        publisher.publish(topic, b"warm").result(TIMEOUT_SECONDS)
        subscriber.pull(request={"subscription": subscription, "max_messages": 1}, timeout=TIMEOUT_SECONDS)
