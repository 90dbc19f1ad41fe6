"""The local S3 as a client of R2 sees it: the checking proxy in front of moto, and R2's temporary credentials."""

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import boto3
import jwt
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session

from emulators.s3_backend import REGION, MotoBackend
from emulators.s3_proxy import CheckingProxy
from emulators.serving import serving

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PARENT: Final = Credentials("local", "a secret of this test, as long as the keys of R2 are")
R2_HOST: Final = "0123456789abcdef0123456789abcdef.r2.cloudflarestorage.com"
NO_TRAILERS: Final = Config(request_checksum_calculation="when_required", response_checksum_validation="when_required")


class Clock:
    """The proxy's clock, by which signatures and credentials expire; a test moves it."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass(frozen=True)
class LocalR2:
    endpoint: str
    clock: Clock
    bucket: str
    _opened: list["S3Client"] = field(default_factory=list)

    def client(
        self,
        credentials: Credentials = PARENT,
        host: str | None = None,
        region: str = REGION,
        config: Config = NO_TRAILERS,
    ) -> "S3Client":
        """Return a client of the proxy's own address, or of an `https://` host whose name leads to the proxy."""
        client = boto3.client(
            "s3",
            endpoint_url=f"https://{host}" if host else self.endpoint,
            region_name=region,
            aws_access_key_id=credentials.access_key,
            aws_secret_access_key=credentials.secret_key,
            aws_session_token=credentials.token,
            config=config.merge(Config(proxies={}, retries={"total_max_attempts": 1})),
        )
        if host:
            client.meta.events.register("before-send.s3", self._connect)  # type: ignore[arg-type] # what it returns is the answer
        self._opened.append(client)
        return client

    def close(self) -> None:
        for client in self._opened:
            client.close()

    def _connect(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        parts = urlsplit(request.url)
        request.headers["Host"] = parts.netloc
        request.url = f"{self.endpoint}{parts.path}?{parts.query}"
        session = URLLib3Session(proxies={})
        try:
            return session.send(request)
        finally:
            session.close()


class Multipart:
    """An upload of an object in parts of these sizes, in bytes."""

    def __init__(self, client: "S3Client", bucket: str, key: str, sizes: Sequence[int]) -> None:
        self._client, self._bucket, self._key = client, bucket, key
        self.id = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        self.tags = {number: self.put(number, bytes(size)) for number, size in enumerate(sizes, 1)}

    def put(self, number: int, body: bytes) -> str:
        """Upload a part, and return its ETag."""
        answer = self._client.upload_part(
            Bucket=self._bucket, Key=self._key, UploadId=self.id, PartNumber=number, Body=body
        )
        return answer["ETag"]

    def complete(self, *numbers: int) -> None:
        """Make the object of these parts."""
        parts: list[CompletedPartTypeDef] = [{"PartNumber": number, "ETag": self.tags[number]} for number in numbers]
        self._client.complete_multipart_upload(
            Bucket=self._bucket, Key=self._key, UploadId=self.id, MultipartUpload={"Parts": parts}
        )


@contextmanager
def local_r2(moto: MotoBackend, bucket: str) -> Iterator[LocalR2]:
    """Serve a proxy in front of moto, with a bucket of this name."""
    clock = Clock()
    proxy = CheckingProxy(moto, PARENT, clock)
    with serving(proxy) as endpoint:
        moto.create_bucket(bucket)
        r2 = LocalR2(endpoint, clock, bucket)
        yield r2
        r2.close()
    proxy.close()


def claims(bucket: str, **changed: Any) -> dict[str, Any]:
    """Return the claims of a credential that may read and write everything in the bucket for an hour."""
    now = datetime.now(UTC)
    return {
        "bucket": bucket,
        "scope": "object-read-write",
        "iss": PARENT.access_key,
        "sub": R2_HOST.partition(".")[0],
        "aud": R2_HOST,
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(hours=1)).timestamp()),
    } | changed


def temporary(token: str) -> Credentials:
    """Return the credential of a JWT as R2 has it."""
    session_token = base64.b64encode(f"jwt/{token}".encode()).decode()
    return Credentials(PARENT.access_key, hashlib.sha256(token.encode()).hexdigest(), session_token)


def without_session_token(token: str) -> Credentials:
    """Return the credential of a JWT for a client that knows no session token."""
    return Credentials(f"tmp_{token}", hashlib.sha256(token.encode()).hexdigest())


def signed(content: dict[str, Any], secret: str = PARENT.secret_key, algorithm: str = "HS256") -> str:
    return jwt.encode(content, secret, algorithm)


def refusal(call: Callable[[], object]) -> tuple[int, str]:
    """Return status and code of the error that the call must end with."""
    try:
        call()
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]
    raise AssertionError("The request was taken.")
