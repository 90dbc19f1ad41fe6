"""A small Google Cloud Storage: of its XML API the objects' PUT and GET by V4 signed URL, of its JSON API metadata,
reading, listing, copying and deletion. It keeps objects in memory, and holds requests to their signatures
(https://cloud.google.com/storage/docs/authentication/canonical-requests). No official emulator exists.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.oauth2.service_account import Credentials
from werkzeug import Request, Response

from emulators.fakes.trust_authority import any_key

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

ALGORITHM: Final = "GOOG4-RSA-SHA256"
EMAIL: Final = "tester@local.iam.gserviceaccount.com"
TOKEN: Final = "a-token-of-the-local-gcs"
META: Final = "x-goog-meta-"


@dataclass(frozen=True, slots=True)
class StoredBlob:
    body: bytes
    content_type: str
    metadata: dict[str, str]


class LocalGcs:
    """A WSGI application. Its one service account is `credentials`, whose key exists only in this process."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._key: RSAPrivateKey = any_key()
        self._objects: dict[str, StoredBlob] = {}

    def credentials(self, base_url: str) -> Credentials:
        pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        info = {"client_email": EMAIL, "private_key": pem, "token_uri": f"{base_url}/token"}
        return Credentials.from_service_account_info(info)  # type: ignore[no-untyped-call, no-any-return]

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        return self._answer(request, request.get_data())(environ, start_response)

    def _answer(self, request: Request, body: bytes) -> Response:
        path = urlsplit(request.environ["RAW_URI"]).path
        if path == "/token":
            return _json({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600})
        if path.startswith(("/storage/v1/b/", "/download/storage/v1/b/")):
            return self._json_api(request, path.removeprefix("/download"))
        if refusal := _refusal(request, body, self._key.public_key(), self._clock()):
            return Response(f"<Error><Code>{refusal}</Code></Error>", _STATUS[refusal], content_type="application/xml")
        return self._xml_api(request, unquote(path), body)

    def _xml_api(self, request: Request, name: str, body: bytes) -> Response:
        if request.method == "PUT":
            sent = request.headers
            metadata = {key.lower().removeprefix(META): value for key, value in sent if key.lower().startswith(META)}
            self._objects[name] = StoredBlob(body, sent.get("content-type", ""), metadata)
            return Response()
        if name not in self._objects:
            return Response(status=404)
        blob = self._objects[name]
        disposition = {"content-disposition": request.args.get("response-content-disposition", "inline")}
        return Response(blob.body, headers=disposition, content_type=blob.content_type)

    def _json_api(self, request: Request, path: str) -> Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _json({"error": {"code": 401, "message": "Invalid Credentials"}}, 401)
        bucket, _, key = path.removeprefix("/storage/v1/b/").removesuffix("/o").partition("/o/")
        if not key and "prefix" in request.args:
            prefix = f"/{bucket}/{request.args['prefix']}"
            listed = [name.removeprefix(f"/{bucket}/") for name in self._objects if name.startswith(prefix)]
            return _json({"items": [{"name": name, "bucket": bucket} for name in listed]})
        key, _, target = key.partition(f"/rewriteTo/b/{bucket}/o/")
        name = f"/{bucket}/{unquote(key)}"
        if name not in self._objects:
            return _json({"error": {"code": 404, "message": f"No such object: {name}"}}, 404)
        if request.method == "DELETE":
            del self._objects[name]
            return Response(status=204)
        blob = self._objects[name]
        if target:
            about = json.loads(request.get_data())
            copied = StoredBlob(blob.body, about["contentType"], about.get("metadata", {}))
            self._objects[f"/{bucket}/{unquote(target)}"] = copied
            size = str(len(blob.body))
            return _json({"done": True, "totalBytesRewritten": size, "objectSize": size, "resource": {}})
        if request.args.get("alt") == "media":
            asked = request.range
            first, end = (asked and asked.range_for_length(len(blob.body))) or (0, len(blob.body))
            about = {"content-range": f"bytes {first}-{end - 1}/{len(blob.body)}"}
            return Response(blob.body[first:end], 206, about, content_type=blob.content_type)
        etag = hashlib.sha256(blob.body).hexdigest()
        about = {"contentType": blob.content_type, "size": str(len(blob.body)), "etag": etag}
        return _json({"name": unquote(key), "bucket": bucket, "metadata": blob.metadata, **about})


_STATUS: Final = {
    "AuthenticationRequired": 401,
    "ExpiredToken": 400,
    "SignatureDoesNotMatch": 403,
    "EntityTooLarge": 400,
    "XGoogContentSHA256Mismatch": 400,
}


def _refusal(request: Request, body: bytes, key: RSAPublicKey, now: datetime) -> str | None:
    """Return the code by which a signed request is refused; None if it is allowed."""
    query = {name: values[0] for name, values in parse_qs(request.query_string.decode()).items()}
    if query.get("X-Goog-Algorithm") != ALGORITHM or "X-Goog-Signature" not in query:
        return "AuthenticationRequired"
    signed_at = datetime.strptime(query["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if now > signed_at + timedelta(seconds=int(query["X-Goog-Expires"])):
        return "ExpiredToken"
    try:
        key.verify(bytes.fromhex(query["X-Goog-Signature"]), _string_to_sign(request, query), PKCS1v15(), SHA256())
    except InvalidSignature:
        return "SignatureDoesNotMatch"
    return _body_refusal(request, body)


def _body_refusal(request: Request, body: bytes) -> str | None:
    least, _, most = request.headers.get("x-goog-content-length-range", f"0,{len(body)}").partition(",")
    if not int(least) <= len(body) <= int(most):
        return "EntityTooLarge"
    sha256 = hashlib.sha256(body).hexdigest()
    return None if request.headers.get("x-goog-content-sha256", sha256) == sha256 else "XGoogContentSHA256Mismatch"


def _string_to_sign(request: Request, query: dict[str, str]) -> bytes:
    path, _, raw_query = request.environ["RAW_URI"].partition("?")
    parameters = sorted(part for part in raw_query.split("&") if not part.startswith("X-Goog-Signature="))
    signed = query["X-Goog-SignedHeaders"].split(";")
    headers = [f"{name}:{request.headers.get(name, '')}\n" for name in signed]
    payload = request.headers.get("x-goog-content-sha256", "UNSIGNED-PAYLOAD")
    lines = [request.method, path, "&".join(parameters), "".join(headers), ";".join(signed), payload]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    scope = query["X-Goog-Credential"].partition("/")[2]
    return "\n".join([ALGORITHM, query["X-Goog-Date"], scope, digest]).encode()


def _json(document: object, status: int = 200) -> Response:
    return Response(json.dumps(document), status, content_type="application/json")
