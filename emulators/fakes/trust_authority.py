"""A small Intel Trust Authority: it publishes its keys and appraises TDX quotes, whose signature it does not check.

GET  /certs                  its public keys (RFC 7517)
POST /appraisal/v1/attest    {"quote": base64} with the header x-api-key: {"token"}
"""

import base64
import json
import secrets
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jwt
import typer
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm
from werkzeug import Request, Response

from emulators.fakes.tdx_quote import NoQuote, TdxQuote
from emulators.processes import Server, accepts, await_ready, start
from emulators.serving import bind
from emulators.settings import TrustSettings
from shared.settings import read_or_exit

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

API_KEY: Final = "LAUNCHYARD_ITA_API_KEY"
ISSUER: Final = "Intel Trust Authority"
VALID: Final = timedelta(minutes=5)


def start_trust_authority(port: int, logs: Path, api_key: str) -> Server:
    """Start the fake and wait until it answers. Raises StartFailed."""
    argv = [sys.executable, "-m", "emulators.fakes.trust_authority", "--port", str(port)]
    server = start("the trust authority", argv, logs / "trust_authority.log", {API_KEY: api_key})
    await_ready(server, lambda: accepts(port))
    return server


class LocalTrustAuthority:
    """A WSGI application. It reports `tcb_status` for every machine. While `away`, it answers 503."""

    def __init__(self, clock: Callable[[], datetime], api_key: str, key: RSAPrivateKey | None = None) -> None:
        self._clock, self._api_key = clock, api_key
        self._key = key or any_key()
        self._key_id = secrets.token_hex(16)
        self.tcb_status = "UpToDate"
        self.away = False
        self.asked: list[str] = []
        """The paths of all requests so far."""

    @property
    def certs(self) -> dict[str, Any]:
        public: dict[str, Any] = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**public, "kid": self._key_id, "alg": "PS384"}]}

    def rotate(self) -> None:
        """Sign with a new key from now on, and publish only that."""
        self._key, self._key_id = generate_private_key(public_exponent=65537, key_size=2048), secrets.token_hex(16)

    def pose_as(self, other: "LocalTrustAuthority") -> None:
        """Name the other authority's key in tokens, but sign with this one's."""
        self._key_id = other._key_id

    def appraise(self, quote: TdxQuote, algorithm: str = "PS384", nested: bool = False, **claims: Any) -> str:
        """Return a token for this quote; `nested` is the format of version 2. A claim that is None is left out."""
        body = {**self.claims(quote, nested), **claims}
        return self.sign(json.dumps({name: value for name, value in body.items() if value is not None}), algorithm)

    def claims(self, quote: TdxQuote, nested: bool = False) -> dict[str, Any]:
        measured = self._measured(quote)
        return {**self._about(), **({"tdx": measured} if nested else measured)}

    def sign(self, payload: str, algorithm: str = "PS384") -> str:
        """Sign any payload."""
        return jwt.PyJWS().encode(payload.encode(), self._key, algorithm, headers={"kid": self._key_id, "typ": "JWT"})

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        return self._answer(Request(environ))(environ, start_response)

    def _answer(self, request: Request) -> Response:
        self.asked.append(request.path)
        if self.away:
            return _json({"error": "Service unavailable"}, 503)
        if (request.method, request.path) == ("GET", "/certs"):
            return _json(self.certs)
        if (request.method, request.path) == ("POST", "/appraisal/v1/attest"):
            return self._attest(request)
        return _json({"error": "Not found"}, 404)

    def _attest(self, request: Request) -> Response:
        if request.headers.get("x-api-key") != self._api_key:
            return _json({"error": "Unauthorized"}, 401)
        try:
            quote = TdxQuote.unpack(base64.b64decode(json.loads(request.get_data())["quote"], validate=True))
        except (ValueError, KeyError, TypeError, NoQuote):
            return _json({"error": "Invalid quote"}, 400)
        return _json({"token": self.appraise(quote)})

    def _about(self) -> dict[str, Any]:
        now = int(self._clock().timestamp())
        times = {"iat": now, "nbf": now, "exp": now + int(VALID.total_seconds())}
        return {"iss": ISSUER, "ver": "1.0.0", "jti": secrets.token_hex(16), **times}

    def _measured(self, quote: TdxQuote) -> dict[str, Any]:
        rtmrs = {f"tdx_rtmr{number}": rtmr.hex() for number, rtmr in enumerate(quote.rtmrs)}
        return {
            "attester_type": "TDX",
            "attester_tcb_status": self.tcb_status,
            "tdx_mrtd": quote.mrtd.hex(),
            **rtmrs,
            "tdx_report_data": quote.report_data.ljust(64, b"\0").hex(),
            "tdx_is_debuggable": quote.debuggable,
        }


@cache
def any_key() -> RSAPrivateKey:
    """Return a key. It is made once in a process, because that is slow."""
    return generate_private_key(public_exponent=65537, key_size=2048)


def _json(document: object, status: int = 200) -> Response:
    return Response(json.dumps(document), status, content_type="application/json")


def serve(port: int = typer.Option()) -> None:
    """Serve on the loopback address, with the API key of the environment."""
    authority = LocalTrustAuthority(
        lambda: datetime.now(UTC), read_or_exit(TrustSettings).ita_api_key.get_secret_value()
    )
    bind(authority, port).serve_forever()


if __name__ == "__main__":
    typer.run(serve)
