"""The official Firestore and Pub/Sub emulators: from the Google Cloud SDK, or installed into it, or downloaded.

`python -m emulators.google` exits with 0 if their files are here or can be fetched, even without Java to run them.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from emulators.fetch import RemoteFile, Unobtainable, fetch, is_cached, require_answer
from emulators.processes import LOOPBACK, Server, answers_ok, await_ready, start
from emulators.progress import STDERR, print_line

CACHE: Final = Path(".launchyard/emulators")
INSTALL_SECONDS: Final = 600
ANSWER_SECONDS: Final = 2.0
JAVA: Final = "JAVA_TOOL_OPTIONS"
"""The variable with options for every Java program, however it is started."""
JAVA_OPTIONS: Final = (JAVA, "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")
"""The variables in which a user may have set some."""
SHORT_LIVED: Final = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"
"""A start and 3,000 requests take 9 s of computing with these, and 19 s without: nothing is compiled twice."""


@dataclass(frozen=True, slots=True)
class Emulator:
    """An emulator, as a component of the SDK, and as a download that `runner` runs."""

    name: str
    component: str
    program: str
    arguments: Sequence[str]
    download: RemoteFile
    runner: Sequence[str]


# The downloads are those of the Firebase CLI's list of emulator downloads, version 14.27.0: the last release whose
# emulators run on Java 17, which Debian 12 has. Later ones need 21.
FIRESTORE: Final = Emulator(
    name="the Firestore emulator",
    component="cloud-firestore-emulator",
    program="platform/cloud-firestore-emulator/cloud_firestore_emulator",
    arguments=("start",),
    download=RemoteFile(
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
    download=RemoteFile(
        url="https://storage.googleapis.com/firebase-preview-drop/emulator/pubsub-emulator-0.8.17.zip",
        sha256="72a49d14ee6cd4c1a0fee4a46f520fe4d7465396a155c61abc0103905047edd3",
        program="pubsub-emulator/bin/cloud-pubsub-emulator",
    ),
    runner=("sh",),
)


def start_firestore(port: int, logs: Path, cache: Path = CACHE) -> Server:
    """Start the Firestore emulator and wait until it answers. Raises StartFailed."""
    argv = [*command(FIRESTORE, cache), f"--host={LOOPBACK}", f"--port={port}"]
    server = start(FIRESTORE.name, argv, logs / "firestore.log", _java())
    await_ready(server, lambda: answers_ok(port, "/", ANSWER_SECONDS))
    return server


def start_pubsub(port: int, logs: Path, cache: Path = CACHE) -> Server:
    """Start the Pub/Sub emulator and wait until it answers. Raises StartFailed."""
    argv = [*command(PUBSUB, cache), f"--host={LOOPBACK}", f"--port={port}"]
    server = start(PUBSUB.name, argv, logs / "pubsub.log", _java())
    await_ready(server, lambda: answers_ok(port, "/", ANSWER_SECONDS))
    return server


def obtain(cache: Path = CACHE) -> None:
    """Install or fetch both emulators if need be, which takes minutes the first time. Raises Unobtainable."""
    require_within_reach(cache)  # first, because Java is of no use without the emulators
    for emulator in (FIRESTORE, PUBSUB):
        command(emulator, cache)


def command(emulator: Emulator, cache: Path, console: Console = STDERR) -> list[str]:
    """Return the command that runs the emulator. Install or fetch it if need be. Raises Unobtainable."""
    if shutil.which("java") is None:
        raise Unobtainable(f"{emulator.name} needs Java, which is not installed (apt-get install default-jre-headless)")
    if not _is_present(emulator, cache) and (gcloud := shutil.which("gcloud")):
        require_answer(emulator.download.url)  # if Google's downloads cannot be reached, the SDK takes minutes to fail
        _install(gcloud, emulator, console)
    if program := _in_sdk(emulator):
        return [str(program), *emulator.arguments]
    return [*emulator.runner, str(fetch(emulator.download, cache, console))]


def require_within_reach(cache: Path = CACHE) -> None:
    """Check that both emulators' files are here or can be fetched. Raises Unobtainable."""
    for emulator in (FIRESTORE, PUBSUB):
        if not _is_present(emulator, cache):
            require_answer(emulator.download.url)


def _java() -> dict[str, str]:
    """Return the variable with Java's options; nothing if the user has options of their own.

    They are not joined: Java does not start with options that choose two garbage collectors.
    """
    return {} if any(os.environ.get(name) for name in JAVA_OPTIONS) else {JAVA: SHORT_LIVED}


def _is_present(emulator: Emulator, cache: Path) -> bool:
    return _in_sdk(emulator) is not None or is_cached(emulator.download, cache)


def _in_sdk(emulator: Emulator) -> Path | None:
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        return None
    program = Path(gcloud).resolve().parent.parent / emulator.program
    return program if program.exists() else None


def _install(gcloud: str, emulator: Emulator, console: Console) -> None:
    """Let the SDK install a component. An SDK from a package manager refuses; then the component is downloaded."""
    argv = [gcloud, "components", "install", emulator.component, "--quiet"]
    print_line(console, f"runs `gcloud {' '.join(argv[1:])}`, which may take minutes")
    try:
        subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        print_line(console, f"gcloud did not end in {INSTALL_SECONDS} s; {emulator.name} is downloaded instead")


def main() -> int:
    try:
        require_within_reach()
    except Unobtainable:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
