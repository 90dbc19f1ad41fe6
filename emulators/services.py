"""Starts the deployables on the local stack, and waits until each is ready."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from emulators.processes import LOOPBACK, Server, StartFailed, answers_ok, await_ready, start
from shared.log_events import LogEvent

FUNCTIONS: Final = Path(__file__).parents[1] / "functions" / "main.py"
THREADS: Final = "1000"
"""The functions' process needs one for each claim that waits, and some for other requests."""
HEALTH_SECONDS: Final = 10.0

Environment = Mapping[str, str]


def start_functions(port: int, logs: Path, environment: Environment, source: Path = FUNCTIONS) -> Server:
    argv = [*python("functions.server"), "--source", str(source), "--target", "everything"]
    argv += ["--host", LOOPBACK, "--port", str(port)]
    server = start("the control plane", argv, logs / "functions.log", {**environment, "THREADS": THREADS})
    await_ready(server, lambda: is_healthy(port))
    return server


def start_scheduler(logs: Path, environment: Environment) -> Server:
    return start("the scheduler", python("emulators.scheduler"), logs / "scheduler.log", environment)


def start_launcher(logs: Path, environment: Environment, log_name: str = "launcher") -> Server:
    log = logs / f"{log_name}.log"
    earlier = log.stat().st_size if log.exists() else 0
    server = start("the launcher", [*python("launcher"), "run"], log, environment)
    await_ready(server, lambda: LogEvent.LAUNCHER_STARTED in logged_events(log, earlier))
    return server


def logged_events(log: Path, since: int = 0) -> Iterator[str]:
    """Yield the event of each line that a part has logged in JSON, from byte `since` of its log on."""
    for line in log.read_bytes()[since:].splitlines():
        with suppress(ValueError):  # a library's warning, or a line that is still being written
            fields = json.loads(line)
            yield str(fields.get("event") or fields.get("message"))


def guest_image(images: Path) -> dict[str, str]:
    """Build the guest image unless it is up to date; return the launcher's settings for it. Raises StartFailed."""
    built = subprocess.run([*python("worker.guest.build"), "--out", str(images)], stdout=sys.stderr, check=False)
    if built.returncode != 0:
        raise StartFailed("The guest image was not built; the reason is printed above.")
    digest = (images / "current").read_text().strip()
    return {"LAUNCHYARD_IMAGE": str((images / digest).resolve()), "LAUNCHYARD_IMAGE_DIGEST": digest}


def python(module: str) -> list[str]:
    """Return the command that runs a module with this process's Python."""
    return [sys.executable, "-m", module]


def is_healthy(port: int) -> bool:
    """Return whether a control plane answers at the port. Its first answer may take seconds."""
    return answers_ok(port, "/v1/health", HEALTH_SECONDS)
