"""Runs images as processes of this host, in folders and with environments of their own."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from emulators.fakes.fly.machine import Launch
from emulators.processes import Server, record
from launcher.machines.private import make_folder, opener
from launcher.machines.start_times import started_at

NOT_STARTED: Final = 127
"""The exit code of a machine whose program cannot be started, as a shell has it."""
OF_SIGNAL: Final = 128
"""A program that a signal ended has this plus the signal's number as its exit code."""


@dataclass(frozen=True, slots=True)
class Running:
    process: "subprocess.Popen[bytes]"
    folder: Path


class ImagePrograms:
    """`images` are the commands by their images' names. A program's output goes to `<logs>/fly-<machine's name>.log`.

    A program sees its machine's environment, a PATH and a folder of its own, and nothing else of this process's: what
    only works with the rest would not work on Fly.
    """

    def __init__(self, images: Mapping[str, Sequence[str]], logs: Path) -> None:
        self._images, self._logs = images, logs
        self._running: dict[str, Running] = {}
        self._not_started: set[str] = set()

    def knows(self, image: str) -> bool:
        return image in self._images

    def start(self, launch: Launch) -> None:
        folder = Path(tempfile.mkdtemp(prefix="fly-machine-"))
        make_folder(self._logs)
        log = self._logs / f"fly-{launch.name}.log"
        own = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "TMPDIR": str(folder)}
        try:
            with open(log, "ab", opener=opener) as out:
                process = subprocess.Popen(
                    [*self._images[launch.image], *launch.arguments],
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env=own | dict(launch.environment),
                    start_new_session=True,
                )
        except OSError as error:
            log.write_text(f"The image's program cannot be started: {error.strerror}\n")
            shutil.rmtree(folder)
            self._not_started.add(launch.machine_id)
            return
        self._running[launch.machine_id] = Running(process, folder)
        record(Server(f"the program of {launch.name}", process.pid, started_at(process.pid), log))

    def terminate(self, machine_id: str) -> None:
        self._signal(machine_id, signal.SIGTERM)

    def kill(self, machine_id: str) -> None:
        self._signal(machine_id, signal.SIGKILL)

    def ended(self) -> dict[str, int]:
        """Return the exit codes of programs that have ended, and end what they left behind."""
        codes = dict.fromkeys(self._not_started, NOT_STARTED)
        self._not_started.clear()
        for machine_id, running in list(self._running.items()):
            if (code := running.process.poll()) is not None:
                self.kill(machine_id)
                del self._running[machine_id]
                shutil.rmtree(running.folder, ignore_errors=True)
                codes[machine_id] = code if code >= 0 else OF_SIGNAL - code
        return codes

    def _signal(self, machine_id: str, number: int) -> None:
        """Send a signal to all processes of a machine. Its first process's id is theirs until `ended` reaps it."""
        if (running := self._running.get(machine_id)) is not None:
            with suppress(ProcessLookupError):
                os.killpg(running.process.pid, number)
