"""Serves the fake as a process, so that instances outlive the launcher that created them."""

import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from emulators.fakes.compute.api import LocalCompute
from emulators.fakes.compute.engine import Engine
from emulators.fakes.compute.guests import WorkerGuests
from emulators.processes import Server, accepts, await_ready, start
from emulators.serving import Below, bind
from emulators.settings import ComputeSettings
from shared.signals import exit_on_signals

SETTLE_SECONDS: Final = 0.1


def start_compute(port: int, logs: Path, environment: Mapping[str, str]) -> Server:
    """Start the fake and wait until it answers. Raises StartFailed.

    It answers below the path of the environment's endpoint only: its instances are processes of this host.
    """
    argv = [sys.executable, "-m", "emulators.fakes.compute", "--port", str(port), "--logs", str(logs)]
    server = start("the Compute Engine", argv, logs / "compute.log", environment)
    await_ready(server, lambda: accepts(port))
    return server


def serve(port: int, logs: Path, settings: ComputeSettings) -> None:
    """Serve until a signal ends the process, then stop every guest."""
    exit_on_signals()
    engine = Engine(time.monotonic, WorkerGuests(logs))
    stopping = threading.Event()
    settler = threading.Thread(target=_settle_regularly, args=(engine, stopping))
    settler.start()
    try:
        bind(Below(settings.path, LocalCompute(engine)), port).serve_forever()
    finally:
        stopping.set()
        settler.join()
        engine.end()


def _settle_regularly(engine: Engine, stopping: threading.Event) -> None:
    """Apply what is due even if there are no requests."""
    while not stopping.wait(SETTLE_SECONDS):
        engine.settle()
