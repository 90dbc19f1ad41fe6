"""What all points share: the emulators, and the secrets of a deployment. Each point has a project of its own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from uuid import uuid4

import pytest
from google.cloud.firestore import Client as Firestore
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient

from emulators import s3
from emulators.doorbell import ensure_topic_and_subscription
from emulators.environment import api_keys, make_environment
from emulators.fakes.trust_authority import API_KEY, start_trust_authority
from emulators.processes import LOOPBACK, free_port, stop
from emulators.settings import BUCKET, SUBSCRIPTION, TOPIC, Backend, StackSettings
from functions.adapters.firestore import FirestoreKeyStore, FirestoreOrderStore
from functions.adapters.s3 import s3_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FIRESTORE: Final = "FIRESTORE_EMULATOR_HOST"
PUBSUB: Final = "PUBSUB_EMULATOR_HOST"


@dataclass(frozen=True, slots=True)
class Project:
    """`environment` is what its processes are told, but for what concerns only one of them."""

    environment: Mapping[str, str] = field(repr=False)
    store: FirestoreOrderStore


@dataclass(frozen=True, slots=True)
class Ground:
    environment: Mapping[str, str] = field(repr=False)
    publisher: PublisherClient
    subscriber: SubscriberClient
    objects: "S3Client"

    @classmethod
    @contextmanager
    def prepared(cls, firestore: str, pubsub: str, logs: Path) -> Iterator[Self]:
        """Yield a ground on these emulators, with a bucket of its own."""
        settings = StackSettings(home=logs, backend=Backend.GOOGLE, s3_port=free_port(), trust_port=free_port())
        environment = make_environment(settings) | {FIRESTORE: firestore, PUBSUB: pubsub}
        key, secret = environment["LAUNCHYARD_S3_ACCESS_KEY_ID"], environment["LAUNCHYARD_S3_SECRET_ACCESS_KEY"]
        servers = [*s3.start_s3(settings.s3_port, logs, key, secret, BUCKET)]
        objects = s3_client(f"http://{LOOPBACK}:{settings.s3_port}", s3.REGION, key, secret)
        try:
            servers.append(start_trust_authority(settings.trust_port, logs, environment[API_KEY]))
            with pytest.MonkeyPatch.context() as own:
                own.setenv(FIRESTORE, firestore)  # Google's libraries look for the emulators there
                own.setenv(PUBSUB, pubsub)
                with PublisherClient() as publisher, SubscriberClient() as subscriber:
                    yield cls(environment, publisher, subscriber, objects)
        finally:
            objects.close()
            for server in servers:
                stop(server)

    @contextmanager
    def project(self) -> Iterator[Project]:
        """Yield a new project, furnished with keys and a doorbell."""
        name = f"crash-{uuid4().hex[:20]}"
        client = Firestore(project=name)
        for key in api_keys(self.environment):
            FirestoreKeyStore(client).add(key)
        paths = ensure_topic_and_subscription(self.publisher, self.subscriber, name, TOPIC, SUBSCRIPTION)
        own = {"GOOGLE_CLOUD_PROJECT": name, "LAUNCHYARD_SUBSCRIPTION": paths.subscription}
        try:
            yield Project({**self.environment, **own}, FirestoreOrderStore(client))
        finally:
            client.close()  # type: ignore[no-untyped-call]

    def keys_under(self, prefix: str) -> list[str]:
        """Return the keys of all objects below a prefix of the bucket."""
        found = self.objects.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for entry in found.get("Contents", [])]
