"""moto's S3 server, for the proxy only: it checks no signature, so it refuses whoever does not send the proxy's word.

`python -m emulators.s3_backend --port N`, with the word in the environment.
"""

import hmac
import secrets
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer
from pydantic import SecretStr

from emulators.ports import free_port
from emulators.processes import LOOPBACK, Server, StartFailed, accepts, await_ready, start
from emulators.settings import S3BackendSettings
from shared.secret import Secret
from shared.settings import read_or_exit

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HEADER: Final = "x-launchyard-backend"
REGION: Final = "auto"
"""R2's region, so that the local stack signs as production does."""
SIGNED_FOR_MOTO: Final = (
    f"AWS4-HMAC-SHA256 Credential=local/20260101/{REGION}/s3/aws4_request, SignedHeaders=, Signature="
)
"""moto finds the service and the region in it, and checks nothing. Its log shows no credential of a client."""
CONFIGURATION: Final = (
    f"<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
)
ANSWER_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class MotoBackend:
    """The port at which moto answers, and the value that it expects in HEADER."""

    port: int
    word: Secret

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        return {HEADER: self.word.get_secret_value(), "authorization": SIGNED_FOR_MOTO}

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables of the processes that know the word."""
        return {"LAUNCHYARD_S3_BACKEND_WORD": self.word.get_secret_value()}

    def create_bucket(self, name: str) -> None:
        """Create a bucket unless it exists. Raises StartFailed.

        Amazon's library would take half a second, most of it to read the descriptions of all services.
        """
        connection = HTTPConnection(LOOPBACK, self.port, timeout=ANSWER_SECONDS)
        try:
            connection.request("PUT", f"/{name}", CONFIGURATION, self.headers)
            answer = connection.getresponse()
            if answer.status not in (HTTPStatus.OK, HTTPStatus.CONFLICT):
                raise StartFailed(f"The bucket {name} cannot be created: {answer.status} {answer.read()[:1000]!r}")
        except (OSError, HTTPException) as error:
            raise StartFailed(f"The bucket {name} cannot be created: {error}") from error
        finally:
            connection.close()


def a_backend() -> MotoBackend:
    """Return a backend on a free port, with a new word. Raises StartFailed."""
    return MotoBackend(free_port(), SecretStr(secrets.token_urlsafe(32)))


class Guarded:
    """A WSGI application that passes on the requests that have the word, and only these."""

    def __init__(self, app: "WSGIApplication", word: Secret) -> None:
        self._app, self._word = app, word

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        sent = str(environ.get(f"HTTP_{HEADER.upper().replace('-', '_')}", ""))
        if not hmac.compare_digest(sent.encode(), self._word.get_secret_value().encode()):
            from werkzeug import Response

            return Response("Only the local S3 may call this server.\n", 403)(environ, start_response)
        return self._app(environ, start_response)


def start_moto(backend: MotoBackend, logs: Path) -> Server:
    """Start moto's server alone. Raises StartFailed."""
    argv = [sys.executable, "-m", "emulators.s3_backend", f"--port={backend.port}"]
    server = start("the S3 server (moto)", argv, logs / "moto.log", backend.environment)
    await_ready(server, lambda: accepts(backend.port))
    return server


def serve(port: int = typer.Option()) -> None:
    """Serve until a signal ends the process."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import run_simple

    app = Guarded(DomainDispatcherApplication(create_backend_app), read_or_exit(S3BackendSettings).word)
    run_simple(LOOPBACK, port, app, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    typer.run(serve)
