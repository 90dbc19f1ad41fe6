"""How each part of the product is started on the local stack, and when it is ready."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx

from emulators.processes import LOOPBACK, Server, StartFailed, await_ready, start
from shared.log_events import LogEvent

FUNCTIONS: Final = Path(__file__).parents[1] / "functions" / "main.py"
THREADS: Final = "64"
"""Of the functions' process: each waiting claim holds one."""
READY: Final = f'"event": "{LogEvent.LAUNCHER_STARTED}"'.encode()
"""What the launcher's log has once it starts."""

Environment = Mapping[str, str]


def start_functions(port: int, logs: Path, environment: Environment) -> Server:
    argv = [*python("functions_framework"), "--source", str(FUNCTIONS), "--target", "everything"]
    argv += ["--host", LOOPBACK, "--port", str(port)]
    server = start("the control plane", argv, logs / "functions.log", {**environment, "THREADS": THREADS})
    await_ready(server, lambda: _healthy(f"http://{LOOPBACK}:{port}/v1/health"))
    return server


def start_scheduler(logs: Path, environment: Environment) -> Server:
    return start("the scheduler", python("emulators.scheduler"), logs / "scheduler.log", environment)


def start_launcher(logs: Path, environment: Environment, log_name: str = "launcher") -> Server:
    log = logs / f"{log_name}.log"
    earlier = log.stat().st_size if log.exists() else 0
    server = start("the launcher", [*python("launcher"), "run"], log, environment)
    await_ready(server, lambda: READY in log.read_bytes()[earlier:])
    return server


def guest_image(images: Path) -> dict[str, str]:
    """Build the guest image where it is not up to date; return how a launcher is told of it. Raises StartFailed."""
    built = subprocess.run([*python("worker.guest.build"), "--out", str(images)], stdout=sys.stderr, check=False)
    if built.returncode != 0:
        raise StartFailed("The guest image was not built; what was missing stands above.")
    digest = (images / "current").read_text().strip()
    return {"LAUNCHYARD_IMAGE": str((images / digest).resolve()), "LAUNCHYARD_IMAGE_DIGEST": digest}


def python(module: str) -> list[str]:
    """Return the command that runs a module with the Python that runs us."""
    return [sys.executable, "-m", module]


def _healthy(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
