"""A new user's first steps: the stack on a machine without the emulators, and the commands that the demo suggests."""

import subprocess
import sys
from pathlib import Path

import pytest

from emulators.demo import NEXT, PI
from emulators.fetch import Unobtainable
from emulators.ports import free_port
from emulators.processes import LOOPBACK, StartFailed
from emulators.record import Record
from emulators.settings import BackendChoice
from emulators.stack import choose_backend
from tests.stack.conftest import Terminal


@pytest.fixture
def out_of_the_way(terminal: Terminal) -> Terminal:
    """A terminal without Java and Google's SDK, whose only way out is a proxy that does not run."""
    terminal.environment["PATH"] = str(terminal.folder)
    terminal.environment["HTTPS_PROXY"] = f"http://{LOOPBACK}:{free_port()}"
    return terminal


@pytest.mark.slow
def test_without_the_emulators_up_uses_memory_and_explains_why(out_of_the_way: Terminal) -> None:
    output = out_of_the_way.succeed("up", "--provider", "process")
    (why,) = [line for line in output.splitlines() if "are not available" in line]
    assert why.startswith("uses backend memory, because the emulators are not available: ")
    assert why.count("cannot be fetched") == 1
    assert "LAUNCHYARD_BACKEND=memory\n" in (out_of_the_way.folder / ".launchyard" / "dev.env").read_text()
    out_of_the_way.succeed("order", "list")


def test_emulators_that_were_asked_for_are_not_replaced(out_of_the_way: Terminal) -> None:
    done = out_of_the_way.run("up", "--backend", "google", "--provider", "process")
    assert done.returncode == 1
    assert "cannot be fetched" in done.stderr
    assert "--backend memory" in done.stderr
    assert not Record(out_of_the_way.folder / ".launchyard").read()


def out_of_reach() -> None:
    raise Unobtainable("no way to the downloads")


def test_auto_is_memory_only_if_the_emulators_cannot_be_had() -> None:
    reported: list[str] = []
    assert choose_backend(BackendChoice.AUTO, reported.append, lambda: None) is BackendChoice.GOOGLE
    assert reported == []
    assert choose_backend(BackendChoice.AUTO, reported.append, out_of_reach) is BackendChoice.MEMORY
    assert reported == ["uses backend memory, because the emulators are not available: no way to the downloads"]


def test_memory_needs_no_emulators_and_google_needs_them() -> None:
    assert choose_backend(BackendChoice.MEMORY, print, out_of_reach) is BackendChoice.MEMORY
    with pytest.raises(StartFailed, match="no way to the downloads"):
        choose_backend(BackendChoice.GOOGLE, print, out_of_reach)


def test_emulators_that_do_not_start_fail_the_stack() -> None:
    def not_starting() -> None:
        raise StartFailed("it ended while starting")

    with pytest.raises(StartFailed, match="ended while starting"):
        choose_backend(BackendChoice.AUTO, print, not_starting)


@pytest.mark.slow
def test_the_commands_that_the_demo_suggests_work_unchanged(terminal: Terminal) -> None:
    (terminal.folder / ".venv").symlink_to(Path(sys.prefix))
    environment = terminal.environment | {"LAUNCHYARD_BACKEND": "memory", "LAUNCHYARD_PROVIDER": "process"}
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", NEXT],
        cwd=terminal.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (terminal.folder / "out" / f"{PI}.xml").exists()
    assert "stopped the control plane" in done.stdout
