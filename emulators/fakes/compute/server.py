"""The fake as a process of its own, whose instances outlive whoever asked for them."""

import sys
import threading
import time
from pathlib import Path
from typing import Final

from emulators.fakes.compute.api import LocalCompute
from emulators.fakes.compute.engine import Engine
from emulators.fakes.compute.guests import WorkerGuests
from emulators.processes import Server, accepts, await_ready, start
from emulators.serving import bind
from shared.signals import exit_when_told

LOOK_SECONDS: Final = 0.1


def start_compute(port: int, logs: Path) -> Server:
    """Start the fake and wait until it answers. Raises StartFailed."""
    argv = [sys.executable, "-m", "emulators.fakes.compute", "--port", str(port), "--logs", str(logs)]
    server = start("the Compute Engine", argv, logs / "compute.log")
    await_ready(server, lambda: accepts(port))
    return server


def serve(port: int, logs: Path) -> None:
    """Serve until told to go; then every guest is stopped."""
    exit_when_told()
    engine = Engine(time.monotonic, WorkerGuests(logs))
    over = threading.Event()
    keeper = threading.Thread(target=_keep, args=(engine, over))
    keeper.start()
    try:
        bind(LocalCompute(engine), port).serve_forever()
    finally:
        over.set()
        keeper.join()
        engine.end()


def _keep(engine: Engine, over: threading.Event) -> None:
    """Have what comes due be done when nobody asks, too."""
    while not over.wait(LOOK_SECONDS):
        engine.settle()
