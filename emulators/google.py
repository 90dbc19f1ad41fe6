"""The official Firestore and Pub/Sub emulators: the Google Cloud SDK's, else installed into it, else downloaded."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from emulators.fetch import Download, fetch
from emulators.processes import LOOPBACK, Server, StartFailed, accepts, await_ready, start

CACHE: Final = Path(".launchyard/emulators")
INSTALL_SECONDS: Final = 600


@dataclass(frozen=True, slots=True)
class Emulator:
    """Where an emulator is: as a component of the SDK, and as a download that `runner` runs."""

    name: str
    component: str
    program: str
    arguments: Sequence[str]
    download: Download
    runner: Sequence[str]


# The downloads are those of the Firebase CLI's list of emulator downloads, version 14.27.0: the last release whose
# emulators run on Java 17, which Debian 12 has; later ones want 21.
FIRESTORE: Final = Emulator(
    name="the Firestore emulator",
    component="cloud-firestore-emulator",
    program="platform/cloud-firestore-emulator/cloud_firestore_emulator",
    arguments=("start",),
    download=Download(
        url="https://storage.googleapis.com/firebase-preview-drop/emulator/cloud-firestore-emulator-v1.19.8.jar",
        sha256="9d43599ed6151199e8d604dc87fac51218e49e5f3a48519b1ae560bbe5e3382d",
        program="cloud-firestore-emulator-v1.19.8.jar",
    ),
    runner=("java", "-Duser.language=en", "-jar"),
)
PUBSUB: Final = Emulator(
    name="the Pub/Sub emulator",
    component="pubsub-emulator",
    program="platform/pubsub-emulator/bin/cloud-pubsub-emulator",
    arguments=(),
    download=Download(
        url="https://storage.googleapis.com/firebase-preview-drop/emulator/pubsub-emulator-0.8.17.zip",
        sha256="72a49d14ee6cd4c1a0fee4a46f520fe4d7465396a155c61abc0103905047edd3",
        program="pubsub-emulator/bin/cloud-pubsub-emulator",
    ),
    runner=("sh",),
)


def start_firestore(port: int, logs: Path, cache: Path = CACHE) -> Server:
    """Start the Firestore emulator and wait until it answers. Raises StartFailed."""
    argv = [*command(FIRESTORE, cache), f"--host={LOOPBACK}", f"--port={port}"]
    server = start(FIRESTORE.name, argv, logs / "firestore.log")
    await_ready(server, lambda: _says_ok(port))
    return server


def start_pubsub(port: int, logs: Path, cache: Path = CACHE) -> Server:
    """Start the Pub/Sub emulator and wait until it answers. Raises StartFailed."""
    argv = [*command(PUBSUB, cache), f"--host={LOOPBACK}", f"--port={port}"]
    server = start(PUBSUB.name, argv, logs / "pubsub.log")
    await_ready(server, lambda: accepts(port) and _says_ok(port))
    return server


def command(emulator: Emulator, cache: Path) -> list[str]:
    """Return the command that runs the emulator, having installed or fetched it where needed. Raises StartFailed."""
    if shutil.which("java") is None:
        raise StartFailed(
            f"{emulator.name} needs Java: install a runtime of it (Debian: default-jre-headless), "
            "or do without the emulators: --backend memory."
        )
    installed = _of_the_sdk(emulator)
    if installed is not None:
        return [str(installed), *emulator.arguments]
    return [*emulator.runner, str(fetch(emulator.download, cache))]


def _of_the_sdk(emulator: Emulator) -> Path | None:
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        return None
    program = Path(gcloud).resolve().parent.parent / emulator.program
    if not program.exists():
        _install(gcloud, emulator.component)
    return program if program.exists() else None


def _install(gcloud: str, component: str) -> None:
    """Ask the SDK to install a component. One that a package manager keeps refuses, and it is fetched instead."""
    argv = [gcloud, "components", "install", component, "--quiet"]
    try:
        subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return


def _says_ok(port: int) -> bool:
    try:
        return httpx.get(f"http://{LOOPBACK}:{port}/", timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
