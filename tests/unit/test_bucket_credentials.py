"""Credentials for images that upload by themselves, in R2's documented form.

The expected JWT is put together here as https://developers.cloudflare.com/r2/examples/authenticate-r2-temp-credentials/
describes it, without the library that signs it.
"""

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any, Final

import pytest

from functions.adapters.bucket_credentials import Issuer
from functions.domain.refusals import Conflict
from functions.ports.worker_credentials import BucketCredentials, WorkerCredentials
from tests.factories import NOW

HOST: Final = "0123abcd.r2.cloudflarestorage.com"
ENDPOINT: Final = f"https://{HOST}"
KEY_ID: Final = "parent-key-id"
SECRET: Final = "parent-secret-of-32-characters-or-more"
PREFIX: Final = "outputs/an-order/1/"


def issuer(kind: WorkerCredentials = WorkerCredentials.TEMPORARY, **changes: Any) -> Issuer:
    fields = {
        "bucket": "s3://exports",
        "endpoint": ENDPOINT,
        "account_id": None,
        "access_key_id": KEY_ID,
        "secret": SECRET,
    }
    return Issuer(**(fields | changes), kind=kind)


def issue(kind: WorkerCredentials = WorkerCredentials.TEMPORARY, **changes: Any) -> BucketCredentials:
    return issuer(kind, **changes).issue(PREFIX, NOW, timedelta(hours=1))


def signed_in(credentials: BucketCredentials) -> str:
    """Return the JWT in the session token."""
    assert credentials.session_token is not None
    kind, _, signed = base64.b64decode(credentials.session_token).decode().partition("/")
    assert kind == "jwt"
    return signed


def claims_of(signed: str) -> dict[str, Any]:
    """Return the claims of a JWT that the parent's secret has signed."""
    header, claims, signature = signed.split(".")
    expected = hmac.digest(SECRET.encode(), f"{header}.{claims}".encode(), "sha256")
    assert _decode(signature) == expected
    assert json.loads(_decode(header)) == {"alg": "HS256", "typ": "JWT"}
    read: dict[str, Any] = json.loads(_decode(claims))
    return read


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_temporary_credentials_are_the_documented_jwt_for_one_prefix() -> None:
    credentials = issue()

    claims = claims_of(signed_in(credentials))
    assert {"PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"} < set(claims.pop("actions"))
    assert claims == {
        "bucket": "exports",
        "scope": "object-read-write",
        "paths": {"prefixPaths": [PREFIX], "objectPaths": []},
        "sub": "0123abcd",
        "iss": KEY_ID,
        "aud": HOST,
        "iat": int(NOW.timestamp()),
        "exp": int((NOW + timedelta(hours=1)).timestamp()),
    }
    assert credentials.access_key_id == KEY_ID
    assert credentials.secret_access_key == hashlib.sha256(signed_in(credentials).encode()).hexdigest()
    assert (credentials.account_id, credentials.bucket, credentials.endpoint) == ("0123abcd", "exports", ENDPOINT)


def test_no_action_deletes_or_lists_what_others_wrote() -> None:
    actions = claims_of(signed_in(issue()))["actions"]

    assert [action for action in actions if action.startswith(("Delete", "List")) and action != "ListParts"] == []


def test_temporary_credentials_end_after_seven_days_at_the_latest() -> None:
    credentials = issuer().issue(PREFIX, NOW, timedelta(days=30))

    assert claims_of(signed_in(credentials))["exp"] == int((NOW + timedelta(days=7)).timestamp())


def test_embedded_credentials_hold_the_token_in_the_access_key_id() -> None:
    embedded, temporary = issue(WorkerCredentials.EMBEDDED), issue()

    assert embedded.session_token is None
    assert embedded.access_key_id == f"tmp_{signed_in(temporary)}"
    assert embedded.secret_access_key == temporary.secret_access_key


def test_plain_credentials_are_the_buckets_own() -> None:
    plain = issue(WorkerCredentials.PLAIN)

    assert (plain.access_key_id, plain.secret_access_key, plain.session_token) == (KEY_ID, SECRET, None)


def test_plain_credentials_are_for_a_service_without_accounts_as_well() -> None:
    plain = issue(WorkerCredentials.PLAIN, endpoint=None)

    assert (plain.endpoint, plain.account_id) == (None, "")


@pytest.mark.parametrize(
    ("endpoint", "account_id", "expected"),
    [
        (ENDPOINT, None, "0123abcd"),
        ("https://0123abcd.eu.r2.cloudflarestorage.com", None, "0123abcd"),
        (ENDPOINT, "another", "another"),
        ("http://127.0.0.1:9000", "local", "local"),
    ],
)
def test_the_account_is_the_settings_or_that_of_r2s_address(
    endpoint: str, account_id: str | None, expected: str
) -> None:
    assert issue(endpoint=endpoint, account_id=account_id).account_id == expected


@pytest.mark.parametrize("endpoint", [None, "https://s3.example", "https://r2.cloudflarestorage.com.example"])
@pytest.mark.parametrize("kind", [WorkerCredentials.TEMPORARY, WorkerCredentials.EMBEDDED])
def test_temporary_credentials_without_an_account_are_refused(kind: WorkerCredentials, endpoint: str | None) -> None:
    with pytest.raises(Conflict, match="LAUNCHYARD_R2_ACCOUNT_ID"):
        issue(kind, endpoint=endpoint)


@pytest.mark.parametrize("kind", WorkerCredentials)
@pytest.mark.parametrize("missing", [{"bucket": "gs://exports"}, {"access_key_id": None}, {"secret": None}])
def test_a_bucket_without_a_key_issues_none(kind: WorkerCredentials, missing: dict[str, Any]) -> None:
    with pytest.raises(Conflict, match="LAUNCHYARD_S3_ACCESS_KEY_ID"):
        issue(kind, **missing)


@pytest.mark.parametrize("kind", WorkerCredentials)
def test_no_log_shows_what_opens_the_bucket(kind: WorkerCredentials) -> None:
    credentials = issue(kind)

    shown = repr(credentials)
    for secret in (credentials.access_key_id, credentials.secret_access_key, credentials.session_token, SECRET):
        assert secret is None or secret not in shown
