"""Projects of their own on shared Google emulators: each has keys, a doorbell and an empty store."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
from google.cloud.firestore import Client as Firestore
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient

from emulators.doorbell import ensure_topic_and_subscription
from emulators.environment import api_keys
from emulators.settings import SUBSCRIPTION, TOPIC
from functions.adapters.firestore import FirestoreOrderStore
from functions.adapters.firestore_keys import FirestoreKeyStore
from tests.harness.environment import FIRESTORE, PUBSUB, Environment, object_store, running_environment, trust_authority


@dataclass(frozen=True, slots=True)
class Project:
    """`variables` is what every process of a deployment in this project is given."""

    variables: Mapping[str, str] = field(repr=False)
    store: FirestoreOrderStore


@dataclass(frozen=True, slots=True)
class Projects:
    """Makes projects. They share the environment: its emulators, bucket and trust authority."""

    environment: Environment
    publisher: PublisherClient
    subscriber: SubscriberClient

    @contextmanager
    def create(self) -> Iterator[Project]:
        name = f"test-{uuid4().hex[:20]}"
        client = Firestore(project=name)
        for key in api_keys(self.environment.variables):
            FirestoreKeyStore(client).add(key)
        paths = ensure_topic_and_subscription(self.publisher, self.subscriber, name, TOPIC, SUBSCRIPTION)
        own = {"GOOGLE_CLOUD_PROJECT": name, "LAUNCHYARD_SUBSCRIPTION": paths.subscription}
        try:
            yield Project({**self.environment.variables, **own}, FirestoreOrderStore(client))
        finally:
            client.close()  # type: ignore[no-untyped-call]


@contextmanager
def sharing(firestore: str, pubsub: str, home: Path) -> Iterator[Projects]:
    """Yield a maker of projects on the emulators that serve at these addresses (`host:port`)."""
    emulators = {FIRESTORE: firestore, PUBSUB: pubsub}
    with (
        running_environment(home, [object_store, trust_authority], **emulators) as environment,
        pytest.MonkeyPatch.context() as own,
    ):
        for name, address in emulators.items():
            own.setenv(name, address)  # Google's libraries look for the emulators there
        with PublisherClient() as publisher, SubscriberClient() as subscriber:
            yield Projects(environment, publisher, subscriber)
