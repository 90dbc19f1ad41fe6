"""The official Firestore and Pub/Sub emulators, from the Google Cloud SDK."""

import shutil
from pathlib import Path
from typing import Final

import httpx

from emulators.processes import LOOPBACK, Server, StartFailed, accepts, await_ready, start

FIRESTORE: Final = "platform/cloud-firestore-emulator/cloud_firestore_emulator"
PUBSUB: Final = "platform/pubsub-emulator/bin/cloud-pubsub-emulator"


def start_firestore(port: int, logs: Path) -> Server:
    """Start the Firestore emulator and wait until it answers. Raises StartFailed."""
    argv = [str(_emulator(FIRESTORE)), "start", f"--host={LOOPBACK}", f"--port={port}"]
    server = start("the Firestore emulator", argv, logs / "firestore.log")
    await_ready(server, lambda: _says_ok(port))
    return server


def start_pubsub(port: int, logs: Path) -> Server:
    """Start the Pub/Sub emulator and wait until it answers. Raises StartFailed."""
    argv = [str(_emulator(PUBSUB)), f"--host={LOOPBACK}", f"--port={port}"]
    server = start("the Pub/Sub emulator", argv, logs / "pubsub.log")
    await_ready(server, lambda: accepts(port) and _says_ok(port))
    return server


def _emulator(path: str) -> Path:
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        raise StartFailed("The Google Cloud SDK is not installed: no gcloud on the PATH.")
    emulator = Path(gcloud).resolve().parent.parent / path
    if not emulator.exists():
        raise StartFailed(f"The Google Cloud SDK has no {path}.")
    return emulator


def _says_ok(port: int) -> bool:
    try:
        return httpx.get(f"http://{LOOPBACK}:{port}/", timeout=2).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
