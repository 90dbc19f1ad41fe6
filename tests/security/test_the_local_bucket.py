"""The local bucket: a request is passed on only with a signature that covers it, and there is no way around that."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from emulators.ports import free_port
from emulators.processes import LOOPBACK, stop
from emulators.s3 import start_s3
from emulators.s3_backend import HEADER, MotoBackend
from functions.adapters.s3 import s3_client
from tests.harness import plain_http
from tests.harness.waiting import ANSWER_SECONDS
from tests.local_r2 import R2_HOST, LocalR2, local_r2

KEY: Final = "outputs/a-tenants"
BODY: Final = b"what a tenant's order left"
SIGNED: Final = "AWS4-HMAC-SHA256 Credential=local/20260101/auto/s3/aws4_request, SignedHeaders=host, Signature=junk"


@pytest.fixture
def r2(moto: MotoBackend, tmp_path: Path) -> Iterator[LocalR2]:
    with local_r2(moto, f"outputs-{uuid4()}") as r2:
        r2.client().put_object(Bucket=r2.bucket, Key=KEY, Body=BODY)
        yield r2


def status(method: str, url: str, headers: dict[str, str] | None = None) -> int:
    answer = plain_http.request(method, url, headers=headers, timeout=ANSWER_SECONDS)
    assert BODY.decode() not in answer.text
    assert KEY not in answer.text
    return answer.status_code


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
def test_a_request_with_a_signature_that_is_junk_is_refused(r2: LocalR2, method: str) -> None:
    now = r2.clock().strftime("%Y%m%dT%H%M%SZ")
    signed = SIGNED.replace("20260101", now[:8])
    headers = {"x-amz-date": now, "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    covering = signed.replace("=host,", "=host;x-amz-content-sha256;x-amz-date,")
    for authorization in (signed, covering):
        for path in ("", f"/{KEY}", "?list-type=2"):
            url = f"{r2.endpoint}/{r2.bucket}{path}"
            assert status(method, url, {**headers, "authorization": authorization}) == 403


def test_a_presigned_url_is_good_for_what_was_signed_and_for_its_time(r2: LocalR2) -> None:
    parameters = {"Bucket": r2.bucket, "Key": KEY}
    url = r2.client().generate_presigned_url("get_object", Params=parameters, ExpiresIn=60)
    assert plain_http.get(url, timeout=ANSWER_SECONDS).content == BODY

    signature = url.rpartition("=")[2]
    assert len(signature) == 64
    altered = [
        url.replace(signature, "junk"),
        url.replace(signature, signature[::-1]),
        url.replace(KEY, f"{KEY}x"),
        url.replace("Expires=60", "Expires=600"),
        f"{url}&list-type=2",
    ]
    assert {status("GET", one) for one in altered} == {403}
    assert status("PUT", url) == 403
    r2.clock.ahead = timedelta(seconds=120)
    assert status("GET", url) == 403


@pytest.mark.parametrize("path", ["", "/{bucket}?list-type=2", "/{bucket}/{key}", "/moto-api/data.json"])
@pytest.mark.parametrize("headers", [{}, {HEADER: "junk"}, {"authorization": SIGNED}, {HEADER: ""}])
def test_the_server_behind_the_proxy_answers_nobody_else(
    r2: LocalR2, moto: MotoBackend, path: str, headers: dict[str, str]
) -> None:
    url = f"{moto.url}{path.format(bucket=r2.bucket, key=KEY)}"

    assert {status(method, url, headers) for method in ("GET", "PUT", "POST", "DELETE")} == {403}


def test_the_stacks_bucket_serves_whoever_signs_by_the_name_of_r2(tmp_path: Path) -> None:
    """An unmodified client of R2 does. The signature covers the name, so no guard of names is needed."""
    port = free_port()
    servers = start_s3(port, tmp_path, "local", "secret", "outputs")
    try:
        client = s3_client(f"http://{R2_HOST}", "auto", "local", "secret")
        url = client.generate_presigned_url("list_objects_v2", Params={"Bucket": "outputs"}, ExpiresIn=60)
        here = url.replace(R2_HOST, f"{LOOPBACK}:{port}")

        assert status("GET", here, {"host": R2_HOST}) == 200
        assert status("GET", here) == 403
    finally:
        for server in servers:
            stop(server)
