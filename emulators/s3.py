"""The local S3: moto's server, behind a proxy on the public port that refuses what R2 refuses."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import typer

from emulators.processes import Server, StartFailed, accepts, await_ready, start, stop
from emulators.s3_backend import MotoBackend, a_backend, start_moto
from emulators.settings import S3BackendSettings, S3Settings
from shared.settings import read_or_exit


def start_s3(port: int, logs: Path, access_key: str, secret: str, bucket: str) -> Sequence[Server]:
    """Start the local S3 with one bucket, and wait until it answers. If that fails, stop it. Raises StartFailed."""
    backend = a_backend()
    started: list[Server] = []
    try:
        started.append(start_moto(backend, logs))
        started.append(_start_proxy(port, backend, logs, access_key, secret))
        backend.create_bucket(bucket)
    except StartFailed:
        for server in started:
            stop(server)
        raise
    return started


def _start_proxy(port: int, backend: MotoBackend, logs: Path, access_key: str, secret: str) -> Server:
    options = [f"--port={port}", f"--backend-port={backend.port}", f"--access-key={access_key}"]
    environment = {"LAUNCHYARD_S3_SECRET": secret, **backend.environment}
    server = start("the S3 proxy", [sys.executable, "-m", "emulators.s3", *options], logs / "s3.log", environment)
    await_ready(server, lambda: accepts(port))
    return server


def serve(port: int = typer.Option(), backend_port: int = typer.Option(), access_key: str = typer.Option()) -> None:
    """Check each request on `port`, and forward it to moto on `backend_port`."""
    # Those who start this server need none of these.
    from botocore.credentials import Credentials

    from emulators.s3_proxy import CheckingProxy
    from emulators.serving import listen

    credentials = Credentials(access_key, read_or_exit(S3Settings).secret.get_secret_value())
    backend = MotoBackend(backend_port, read_or_exit(S3BackendSettings).word)
    proxy = CheckingProxy(backend, credentials, lambda: datetime.now(UTC))
    listen(proxy, port).serve_forever()  # signatures cover the Host header, and a client of R2 sends R2's name


if __name__ == "__main__":
    typer.run(serve)
