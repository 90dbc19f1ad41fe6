"""Every output bucket: the in-memory one, S3 (moto behind the checking proxy) and a local GCS."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from botocore.credentials import Credentials
from google.cloud.storage import Client
from werkzeug.http import parse_options_header

from emulators.s3_backend import REGION, MotoBackend
from emulators.s3_proxy import CheckingProxy
from emulators.serving import serving
from functions.adapters.gcs import GcsBucket
from functions.adapters.s3 import S3Bucket, s3_client
from functions.domain.multipart import MIB, PartLimits
from functions.domain.refusals import Forbidden, NotFound
from functions.ports.outputs import OutputBucket, PresignedUpload, UploadTerms
from tests.harness import plain_http
from tests.harness.waiting import ANSWER_SECONDS
from tests.local_gcs import LocalGcs
from tests.local_r2 import Clock
from tests.memory_bucket import MemoryBucket

VALID: Final = timedelta(minutes=10)
BODY: Final = b"<mods>a title</mods>\n"
ACCESS_KEY: Final = "local"
SECRET: Final = "a secret of this test"
BUCKET: Final = "outputs"
LIMITS: Final = PartLimits(single=8 * MIB, smallest=5 * MIB)


@dataclass(frozen=True)
class Downloaded:
    file_name: str
    body: bytes


class Rig(Protocol):
    """A bucket, and what a client does with its URLs."""

    bucket: OutputBucket
    clock: Clock

    def put(self, upload: PresignedUpload, body: bytes) -> bool: ...

    def get(self, url: str) -> Downloaded | None: ...


class MemoryRig:
    def __init__(self) -> None:
        self.clock = Clock()
        self.bucket = MemoryBucket(self.clock, LIMITS)

    def put(self, upload: PresignedUpload, body: bytes) -> bool:
        return self.bucket.put(upload, body)

    def get(self, url: str) -> Downloaded | None:
        try:
            body = self.bucket.fetch(url)
        except (Forbidden, NotFound):
            return None
        return Downloaded(parse_qs(urlsplit(url).query)["filename"][0], body)


class HttpRig:
    def __init__(self, bucket: OutputBucket, clock: Clock) -> None:
        self.bucket, self.clock = bucket, clock

    def put(self, upload: PresignedUpload, body: bytes) -> bool:
        return put_bytes(upload.url, upload.headers, body).is_success

    def get(self, url: str) -> Downloaded | None:
        response = plain_http.get(url, timeout=ANSWER_SECONDS)
        if not response.is_success:
            return None
        kind, parameters = parse_options_header(response.headers["content-disposition"])
        assert kind == "attachment"
        return Downloaded(parameters["filename"], response.content)


def put_bytes(url: str, headers: Mapping[str, str], body: bytes) -> httpx.Response:
    return plain_http.put(
        url, headers={**headers, "content-length": str(len(body))}, content=body, timeout=ANSWER_SECONDS
    )


@pytest.fixture
def s3(moto: MotoBackend, bucket_name: str) -> Iterator[HttpRig]:
    clock = Clock()
    proxy = CheckingProxy(moto, Credentials(ACCESS_KEY, SECRET), clock)
    with serving(proxy) as endpoint:
        moto.create_bucket(bucket_name)
        client = s3_client(endpoint, REGION, ACCESS_KEY, SECRET)
        yield HttpRig(S3Bucket(client, bucket_name, LIMITS), clock)
        client.close()
    proxy.close()


@pytest.fixture
def gcs() -> Iterator[HttpRig]:
    clock = Clock()
    server = LocalGcs(clock)
    with serving(server) as url:
        client = Client(project="local", credentials=server.credentials(url), client_options={"api_endpoint": url})
        yield HttpRig(GcsBucket(client, BUCKET), clock)
        client.close()


@pytest.fixture
def memory() -> MemoryRig:
    return MemoryRig()


@pytest.fixture(params=["memory", "s3", "gcs"])
def rig(request: pytest.FixtureRequest) -> Rig:
    found: Rig = request.getfixturevalue(request.param)
    return found


def terms_of(body: bytes = BODY, key: str = "outputs/order-1/1/mods.xml") -> UploadTerms:
    return UploadTerms(key, "application/xml", len(body), hashlib.sha256(body).hexdigest())
