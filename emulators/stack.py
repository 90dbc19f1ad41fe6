"""The whole stack on one machine: started in order, waited for, recorded as it starts, and stopped exactly."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Final

import httpx

from emulators import google, s3, source
from emulators.doorbell import ensure_doorbell
from emulators.environment import api_keys, make_environment, write_environment
from emulators.processes import Server, StartFailed, await_ready, require_free, start
from emulators.record import Record
from emulators.settings import PROJECT, SUBSCRIPTION, TOPIC, Backend, ProviderChoice, StackSettings

QEMU: Final = "qemu-system-x86_64"
IMAGES: Final = Path(".launchyard/images")
THREADS: Final = "64"
"""Of the functions' process: waiting claims hold one each."""

Say = Callable[[str], None]
Environment = Mapping[str, str]


def up(settings: StackSettings, say: Say) -> dict[str, str]:
    """Start everything, wait until all answer, and return the environment that `dev.env` now holds.

    Raises StartFailed, having stopped whatever had been started.
    """
    record = Record(settings.home)
    if record.alive():
        raise StartFailed("The local stack is up already; `launchyard down` stops it.")
    _require_ports(settings)
    environment = make_environment(settings)
    try:
        _start_all(settings, environment, record, say)
    except BaseException:
        record.stop_all()
        raise
    say(f"the environment is in {write_environment(settings.home, environment)}")
    return environment


def down(home: Path) -> list[Server]:
    """Stop exactly what `up` started; return what was still running."""
    return Record(home).stop_all()


def _start_all(settings: StackSettings, environment: Environment, record: Record, say: Say) -> None:
    provider = _provider(settings, say)
    image = _guest_image() if provider is ProviderChoice.QEMU else {}
    for server in _start_stores(settings, environment):
        record.add(server)
    _furnish(settings, environment)
    say(f"the stores answer ({_stores(settings)})")
    record.add(_start_functions(settings, environment))
    say(f"the control plane answers at {environment['LAUNCHYARD_URL']}")
    record.add(start("the scheduler", _python("emulators.scheduler"), _logs(settings) / "scheduler.log", environment))
    record.add(_start_launcher(settings, {**environment, **image}, provider))
    say(f"the launcher takes orders (provider {provider}, {settings.slots} machines at once)")


def _require_ports(settings: StackSettings) -> None:
    wanted = {"port": "the control plane", "s3_port": "the S3 server", "source_port": "the sample source"}
    if settings.backend is Backend.GOOGLE:
        wanted |= {"firestore_port": "the Firestore emulator", "pubsub_port": "the Pub/Sub emulator"}
    for name, server in wanted.items():
        require_free(server, getattr(settings, name), f"LAUNCHYARD_{name.upper()}")


def _start_stores(settings: StackSettings, environment: Environment) -> list[Server]:
    """Start them side by side: the emulators take seconds each."""
    logs = _logs(settings)
    starts: list[Callable[[], list[Server]]] = [
        lambda: s3.start_s3(settings.s3_port, logs, *_s3_credentials(environment)),
        lambda: [source.start_source(settings.source_port, logs)],
    ]
    if settings.backend is Backend.GOOGLE:
        starts.append(lambda: [google.start_firestore(settings.firestore_port, logs)])
        starts.append(lambda: [google.start_pubsub(settings.pubsub_port, logs)])
    started: list[Server] = []
    failed: list[BaseException] = []
    with ThreadPoolExecutor(len(starts)) as pool:
        for future in as_completed([pool.submit(begin) for begin in starts]):
            error = future.exception()
            if error is None:
                started.extend(future.result())
            else:
                failed.append(error)
    if failed:
        for server in started:
            google.stop(server)
        raise failed[0]
    return started


def _furnish(settings: StackSettings, environment: Environment) -> None:
    """Make the bucket, the topic, the subscription and the three API keys."""
    s3.make_bucket(environment)
    if settings.backend is Backend.GOOGLE:
        ensure_doorbell(environment["PUBSUB_EMULATOR_HOST"], PROJECT, TOPIC, SUBSCRIPTION)
        google.add_keys(environment["FIRESTORE_EMULATOR_HOST"], PROJECT, api_keys(environment))


def _start_functions(settings: StackSettings, environment: Environment) -> Server:
    argv = [*_python("functions_framework"), "--source", "functions/main.py", "--target", "everything"]
    argv += ["--host", LOOPBACK, "--port", str(settings.port)]
    server = start("the control plane", argv, _logs(settings) / "functions.log", {**environment, "THREADS": THREADS})
    await_ready(server, lambda: _healthy(f"{environment['LAUNCHYARD_URL']}/v1/health"))
    return server


def _start_launcher(settings: StackSettings, environment: Environment, provider: ProviderChoice) -> Server:
    own = {
        "LAUNCHYARD_PROVIDER": provider,
        "LAUNCHYARD_SLOTS": str(settings.slots),
        "LAUNCHYARD_STATE_DIR": str(settings.home.resolve() / "launcher"),
        "LAUNCHYARD_LAUNCHER_NAME": "local",
    }
    log = _logs(settings) / "launcher.log"
    server = start("the launcher", [*_python("launcher"), "run"], log, {**environment, **own})
    await_ready(server, lambda: READY in log.read_text(errors="replace"))
    return server


def _provider(settings: StackSettings, say: Say) -> ProviderChoice:
    if settings.provider is not ProviderChoice.AUTO:
        return settings.provider
    if shutil.which(QEMU):
        return ProviderChoice.QEMU
    say(f"{QEMU} is not installed: workers run as plain processes, not in machines")
    return ProviderChoice.PROCESS


def _guest_image() -> dict[str, str]:
    """Build the guest image where it is not up to date; return how the launcher is told of it."""
    built = subprocess.run([*_python("worker.guest.build"), "--out", str(IMAGES)], stdout=sys.stderr, check=False)
    if built.returncode != 0:
        raise StartFailed("The guest image was not built; what was missing stands above.")
    digest = (IMAGES / "current").read_text().strip()
    return {"LAUNCHYARD_IMAGE": str((IMAGES / digest).resolve()), "LAUNCHYARD_IMAGE_DIGEST": digest}


def _healthy(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def _logs(settings: StackSettings) -> Path:
    return settings.home / "logs"


def _stores(settings: StackSettings) -> str:
    if settings.backend is Backend.GOOGLE:
        return "the Firestore and Pub/Sub emulators, S3 by moto"
    return "orders and bells in the functions' own memory, S3 by moto"
