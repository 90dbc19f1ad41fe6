"""The credentials that the control plane issues open their prefix of a bucket as strict as R2, and nothing else."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from botocore.credentials import Credentials

from emulators.s3_backend import MotoBackend
from functions.adapters.bucket_credentials import Issuer
from functions.ports.worker_credentials import WorkerCredentials
from tests.local_r2 import PARENT, LocalR2, Multipart, local_r2, refusal

PREFIX: Final = "exports/order-1/"
SCOPED: Final = [WorkerCredentials.TEMPORARY, WorkerCredentials.EMBEDDED]


@pytest.fixture
def r2(moto: MotoBackend, bucket_name: str) -> Iterator[LocalR2]:
    with local_r2(moto, bucket_name) as found:
        yield found


def issued(r2: LocalR2, kind: WorkerCredentials) -> Credentials:
    issuer = Issuer(f"s3://{r2.bucket}", r2.endpoint, "local", PARENT.access_key, PARENT.secret_key, kind)
    made = issuer.issue(PREFIX, datetime.now(UTC), timedelta(hours=1))
    return Credentials(made.access_key_id, made.secret_access_key, made.session_token)


@pytest.mark.parametrize("kind", SCOPED)
def test_an_image_uploads_below_its_prefix_in_one_request_and_in_parts(r2: LocalR2, kind: WorkerCredentials) -> None:
    client = r2.client(issued(r2, kind))

    client.put_object(Bucket=r2.bucket, Key=f"{PREFIX}a.xml", Body=b"small")
    Multipart(client, r2.bucket, f"{PREFIX}b.xml", [5 << 20, 1]).complete(1, 2)

    assert client.head_object(Bucket=r2.bucket, Key=f"{PREFIX}a.xml")["ContentLength"] == 5
    assert client.head_object(Bucket=r2.bucket, Key=f"{PREFIX}b.xml")["ContentLength"] == (5 << 20) + 1


@pytest.mark.parametrize("kind", SCOPED)
def test_an_image_reaches_no_other_key_deletes_nothing_and_stops_in_time(r2: LocalR2, kind: WorkerCredentials) -> None:
    client = r2.client(issued(r2, kind))
    client.put_object(Bucket=r2.bucket, Key=f"{PREFIX}a.xml", Body=b"mine")

    denied = (403, "AccessDenied")
    assert refusal(lambda: client.put_object(Bucket=r2.bucket, Key="exports/order-10/a.xml", Body=b"x")) == denied
    assert refusal(lambda: client.delete_object(Bucket=r2.bucket, Key=f"{PREFIX}a.xml")) == denied
    assert refusal(lambda: client.list_objects_v2(Bucket=r2.bucket, Prefix=PREFIX)) == denied
    r2.clock.ahead = timedelta(hours=1, seconds=1)
    late = refusal(lambda: client.put_object(Bucket=r2.bucket, Key=f"{PREFIX}a.xml", Body=b"late"))
    assert late[0] in (400, 403)


def test_plain_credentials_reach_the_whole_bucket(r2: LocalR2) -> None:
    client = r2.client(issued(r2, WorkerCredentials.PLAIN))

    client.put_object(Bucket=r2.bucket, Key="exports/order-10/a.xml", Body=b"x")
    assert client.list_objects_v2(Bucket=r2.bucket)["KeyCount"] == 1
