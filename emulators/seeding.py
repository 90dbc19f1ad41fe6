"""Writes what the emulators need before the first request: the doorbell's topics and subscription, and three API keys.

It runs as a separate process (`python -m emulators.seeding`, with the keys on standard input), because Google's
libraries find the emulators through the environment. Loading those libraries takes a second, which only that process
spends.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import stamina
from pydantic import TypeAdapter

from emulators.environment import api_keys
from emulators.processes import StartFailed, unproxied
from emulators.settings import PROJECT, SUBSCRIPTION, TOPIC
from functions.domain.access import ApiKey
from functions.domain.refusals import Unavailable

KEYS: Final = TypeAdapter(list[ApiKey])


def seed(environment: Mapping[str, str]) -> None:
    """Write the topics, the subscription and the keys into the emulators. Raises StartFailed."""
    done = subprocess.run(
        [sys.executable, "-m", "emulators.seeding"],
        input=KEYS.dump_json(api_keys(environment)),
        env={**os.environ, **unproxied(os.environ), **environment},
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        raise StartFailed(f"The emulators could not be seeded: {done.stderr.decode(errors='replace')[-2000:]}")


@stamina.retry(on=Unavailable, attempts=5)  # on a busy machine an emulator's first answer takes many seconds
def write(keys: Sequence[ApiKey], project: str) -> None:
    """Write the topics, the subscription and the keys of a project."""
    from google.cloud import firestore
    from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient

    from emulators.doorbell import ensure_topic_and_subscription
    from functions.adapters.firestore_keys import FirestoreKeyStore

    client = firestore.Client(project=project)
    for key in keys:
        FirestoreKeyStore(client).add(key)
    with PublisherClient() as publisher, SubscriberClient() as subscriber:
        ensure_topic_and_subscription(publisher, subscriber, project, TOPIC, SUBSCRIPTION)


if __name__ == "__main__":
    from emulators import warm_up

    warm_up.firestore()
    warm_up.pubsub()
    write(KEYS.validate_json(sys.stdin.buffer.read()), PROJECT)
