"""A check whose topics and subscriptions are those of the Pub/Sub emulator."""

from typing import Final
from uuid import uuid4

import pytest
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient

from deploy.check import check
from deploy.data import TerraformOutputs, read_data
from deploy.deployment import DeploymentTarget
from deploy.google import Endpoints, Google
from deploy.rows import RowVerdict
from tests.deploy.conftest import Live, Token
from tests.deploy.whole import REGION

pytestmark = pytest.mark.emulator

DOORBELL: Final = frozenset({"topic", "subscription"})


def test_what_the_emulator_lacks_is_named(live: Live, pubsub_host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_host)
    project = f"test-{uuid4().hex[:20]}"
    parent = f"projects/{project}"
    with PublisherClient() as publisher, SubscriberClient() as subscriber:
        for topic in ("launchyard-doorbell", "launchyard-doorbell-dead"):
            publisher.create_topic(name=f"{parent}/topics/{topic}")
        subscriber.create_subscription(
            request={
                "name": f"{parent}/subscriptions/launchyard-pool-rack-7",
                "topic": f"{parent}/topics/launchyard-doorbell",
                "filter": 'attributes.lane="any/task"',
                "dead_letter_policy": {
                    "dead_letter_topic": f"{parent}/topics/launchyard-doorbell-dead",
                    "max_delivery_attempts": 100,
                },
                "expiration_policy": {},
                "retry_policy": {"minimum_backoff": {"seconds": 5}},
            }
        )
    google = Google(Token(), Endpoints(live.url, {"pubsub": f"http://{pubsub_host}"}))

    rows = [
        row
        for row in check(google, DeploymentTarget(project, REGION), read_data(), TerraformOutputs())
        if row.subject in DOORBELL
    ]

    google.close()
    assert [(row.name, row.verdict) for row in rows] == [
        ("launchyard-doorbell", RowVerdict.OK),
        ("launchyard-doorbell-dead", RowVerdict.OK),
        ("launchyard-pool-rack-7", RowVerdict.OK),
        ("one of launchyard-doorbell-dead", RowVerdict.MISSING),
    ]
