"""A stand-in for Google's token service, its credentials API, and Pub/Sub over TLS, each of which checks who asks."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import grpc
from google.pubsub_v1.types import PubsubMessage, PullRequest, PullResponse, ReceivedMessage
from werkzeug import Request, Response

from emulators.processes import LOOPBACK
from emulators.serving import serving
from tests.certificates import an_authority
from tests.launcher.installation.hosts import AUDIENCE, CREDENTIALS_DOCUMENT, SUBSCRIPTION

FEDERATED: Final = "a-federated-token"
ACCESS: Final = "the-access-token-of-the-pools-account"
IMPERSONATE: Final = (
    "/v1/projects/-/serviceAccounts/ly-pool-rack-7@a-project.iam.gserviceaccount.com:generateAccessToken"
)


@dataclass
class Google:
    """`subject` is the token of the host that the pool trusts. `asked` has the path of each HTTP request."""

    subject: str
    address: str = ""
    lifetime: timedelta = timedelta(hours=1)
    """Of the tokens that it gives."""
    asked: list[str] = field(default_factory=list)

    def document(self, token: Path) -> dict[str, Any]:
        """Return the pool's credentials, with these addresses and this file of the host's token."""
        return {
            **CREDENTIALS_DOCUMENT,
            "token_url": f"{self.address}/v1/token",
            "service_account_impersonation_url": f"{self.address}{IMPERSONATE}",
            "credential_source": {"file": str(token)},
        }

    def answer(self, request: Request) -> Response:
        self.asked.append(request.path)
        match request.path:
            case "/v1/token":
                known = (request.form["audience"], request.form["subject_token"]) == (AUDIENCE, self.subject)
                return _json(
                    known,
                    access_token=FEDERATED,
                    issued_token_type="urn:ietf:params:oauth:token-type:access_token",
                    token_type="Bearer",
                    expires_in=int(self.lifetime.total_seconds()),
                )
            case _ if request.path == IMPERSONATE:
                ends = (datetime.now(UTC) + self.lifetime).strftime("%Y-%m-%dT%H:%M:%SZ")
                known = request.headers.get("Authorization") == f"Bearer {FEDERATED}"
                return _json(known, accessToken=ACCESS, expireTime=ends)
            case _:
                return _json(False)


@contextmanager
def a_google(subject: str) -> Iterator[Google]:
    google = Google(subject)
    with serving(Request.application(google.answer)) as google.address:
        yield google


@contextmanager
def a_pubsub(folder: Path, attributes: dict[str, str]) -> Iterator[str]:
    """Serve one bell to whoever has the access token; yield the address. `folder` gets the authority's certificate."""

    def pull(request: bytes, context: grpc.ServicerContext) -> bytes:
        bearer = dict(context.invocation_metadata()).get("authorization")
        if bearer != f"Bearer {ACCESS}" or PullRequest.deserialize(request).subscription != SUBSCRIPTION:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "another subscription, or another account")
        bell = ReceivedMessage(ack_id="1", message=PubsubMessage(attributes=attributes))
        return bytes(PullResponse.serialize(PullResponse(received_messages=[bell])))

    authority = an_authority()
    (folder / "authority.pem").write_text(authority.pem)
    authority.server_context(folder, LOOPBACK)
    key, chain = re.findall(r"-----BEGIN.*?-----END[^\n]*\n", (folder / "server.pem").read_text(), re.DOTALL)
    handlers = {"Pull": grpc.unary_unary_rpc_method_handler(pull)}
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", handlers),)
        )
        credentials = grpc.ssl_server_credentials([(key.encode(), chain.encode())])
        port = server.add_secure_port(f"{LOOPBACK}:0", credentials)
        server.start()
        try:
            yield f"{LOOPBACK}:{port}"
        finally:
            server.stop(None).wait()


def _json(known: bool, **answer: Any) -> Response:
    return Response(json.dumps(answer if known else {"error": "unauthorized"}), 200 if known else 401)
