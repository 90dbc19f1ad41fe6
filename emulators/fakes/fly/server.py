"""Serves the fake as a process, so that machines outlive the launcher that created them."""

import json
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from emulators.fakes.fly.api import LocalFly
from emulators.fakes.fly.machines import Machines
from emulators.fakes.fly.programs import ImagePrograms
from emulators.processes import Server, accepts, await_ready, start
from emulators.serving import bind
from emulators.settings import Images, LocalFlySettings
from shared.signals import exit_on_signals

SETTLE_SECONDS: Final = 0.05


def start_fly(port: int, logs: Path, environment: Mapping[str, str], images: Images) -> Server:
    """Start the fake with the app and the token in `environment`, and wait until it answers. Raises StartFailed."""
    argv = [sys.executable, "-m", "emulators.fakes.fly", "--port", str(port), "--logs", str(logs)]
    variables = {name: environment[name] for name in ("LAUNCHYARD_FLY_APP", "LAUNCHYARD_FLY_API_TOKEN")}
    server = start(
        "the Machines API", argv, logs / "fly.log", variables | {"LAUNCHYARD_FLY_IMAGES": json.dumps(images)}
    )
    await_ready(server, lambda: accepts(port))
    return server


def serve(port: int, logs: Path, settings: LocalFlySettings) -> None:
    """Serve until a signal ends the process, then kill every machine's program."""
    exit_on_signals()
    programs = ImagePrograms(settings.all_images, logs)
    machines = Machines(settings.fly_app, time.monotonic, lambda: datetime.now(UTC), programs)
    stopping = threading.Event()
    settler = threading.Thread(target=_settle_regularly, args=(machines, stopping))
    settler.start()
    try:
        bind(LocalFly(machines, settings.fly_api_token.get_secret_value()), port).serve_forever()
    finally:
        stopping.set()
        settler.join()
        machines.end()


def _settle_regularly(machines: Machines, stopping: threading.Event) -> None:
    """Apply what is due even if there are no requests."""
    while not stopping.wait(SETTLE_SECONDS):
        machines.settle()
