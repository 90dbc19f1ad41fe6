"""Makes what the functions need of other services: the doorbell, the bucket, and the trust authority."""

from collections.abc import Callable, Sequence
from typing import Final

from functions.ports.attestation import Appraiser
from functions.ports.doorbell import Doorbell
from functions.ports.outputs import OutputBucket
from functions.ports.worker_credentials import CredentialIssuer
from functions.settings import (
    Backend,
    BucketSettings,
    DatabaseSettings,
    DoorbellSettings,
    TrustAuthoritySettings,
    WorkerCredentialSettings,
)

APPRAISAL_SECONDS: Final = 10.0
"""The time limit for Intel Trust Authority's answer: an agent waits 30 s for ours."""


def doorbell(database: DatabaseSettings, settings: DoorbellSettings) -> Doorbell:
    """Google's library reads PUBSUB_EMULATOR_HOST itself."""
    if database.backend is Backend.MEMORY:
        from functions.adapters.silent_doorbell import SilentDoorbell

        return SilentDoorbell()
    from google.cloud.pubsub_v1 import PublisherClient

    from functions.adapters.pubsub import PubSubDoorbell

    publisher = PublisherClient()
    return PubSubDoorbell(publisher, publisher.topic_path(database.project, settings.topic))


def bucket(settings: BucketSettings) -> OutputBucket:
    from functions.adapters.buckets import open_bucket

    return open_bucket(
        settings.bucket,
        endpoint=settings.s3_endpoint,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret=settings.s3_secret,
        sign_as=settings.sign_as,
    )


def credential_issuer(bucket: BucketSettings, settings: WorkerCredentialSettings) -> CredentialIssuer:
    from functions.adapters.bucket_credentials import Issuer

    return Issuer(
        bucket.bucket,
        bucket.s3_endpoint,
        settings.r2_account_id,
        bucket.s3_access_key_id,
        bucket.s3_secret,
        settings.worker_credentials,
    )


def appraiser(settings: TrustAuthoritySettings) -> Appraiser:
    from functions.adapters.published_keys import PublishedKeys
    from functions.adapters.trust_authority import TrustAuthority
    from shared.http_client import open_client

    api_key = settings.ita_api_key
    keys = PublishedKeys(open_client(settings.ita_certs, timeout=APPRAISAL_SECONDS), settings.ita_certs)
    http = open_client(settings.ita_api, timeout=APPRAISAL_SECONDS)
    return TrustAuthority(http, keys, settings.ita_api, api_key.get_secret_value() if api_key else None)


MAKERS: Final[Sequence[Callable[..., object]]] = (doorbell, bucket, credential_issuer, appraiser)
