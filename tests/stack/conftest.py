"""A terminal: the installed `launchyard` command in a folder of the test's own, on ports of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from emulators.record import Record
from emulators.settings import free_ports
from tests.harness.forked import Forked

CLIENTS: Final = ("export", "job", "order")
"""The commands that start nothing on this host."""


@dataclass(frozen=True)
class Terminal:
    folder: Path
    environment: dict[str, str]

    def run(self, *words: str, seconds: float = 300) -> "subprocess.CompletedProcess[str]":
        if words[0] in CLIENTS:
            with Forked("cli.main", words, self.environment, self.folder) as command:
                output, errors = command.communicate(timeout=seconds)
                return subprocess.CompletedProcess(words, command.returncode, output, errors)
        return subprocess.run(
            [sys.executable, "-m", "cli.main", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def start(
        self,
        *words: str,
        stdin: int | None = None,
        stdout: int = subprocess.DEVNULL,
        stderr: int = subprocess.DEVNULL,
    ) -> "subprocess.Popen[bytes]":
        """Start a command and do not wait for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "cli.main", *words],
            cwd=self.folder,
            env=self.environment,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )

    def succeed(self, *words: str, seconds: float = 300) -> str:
        """Run a command that must exit 0; return what it printed."""
        done = self.run(*words, seconds=seconds)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def make_terminal(folder: Path) -> Terminal:
    root = Path(__file__).parents[2]
    own = {f"LAUNCHYARD_{name.upper()}": str(port) for name, port in free_ports().items()}
    own |= {"PYTHONPATH": str(root), "COLUMNS": "200", "LAUNCHYARD_IMAGES": str(root / ".launchyard" / "images")}
    return Terminal(folder, {**os.environ, **own})


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """A terminal without a running stack; a stack that a test leaves running is stopped."""
    terminal = make_terminal(tmp_path)
    yield terminal
    if Record(tmp_path / ".launchyard").read():
        terminal.run("down")


@pytest.fixture(scope="module")
def memory_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """A stack without emulators and machines: the same functions on the in-memory adapters, workers as processes."""
    terminal = make_terminal(tmp_path_factory.mktemp("memory"))
    terminal.succeed("up", "--backend", "memory", "--provider", "process")
    yield terminal
    terminal.succeed("down")
