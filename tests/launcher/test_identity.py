"""A machine's processes are found by their mark, whatever else is in their environment."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from launcher.providers.process.identity import MARK, end_stragglers, marked
from tests.launcher.fake_control_plane import DEADLINE

BECOMES: Final = """
import ctypes, sys
program, *entries = [argument.encode() for argument in sys.argv[1:]]
argv = (ctypes.c_char_p * 2)(program, None)
environment = (ctypes.c_char_p * (len(entries) + 1))(*entries, None)
ctypes.CDLL(None).execve(program, argv, environment)
"""
"""Runs a program with these entries as its environment. os.execve takes no empty entry."""


def test_a_process_with_an_empty_entry_before_the_mark_in_its_environment_is_found_and_ended() -> None:
    uuid, cat = str(uuid4()), shutil.which("cat")
    assert cat is not None
    argv = (sys.executable, "-c", BECOMES, cat, "A=1", "", f"{MARK}={uuid}")
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(b"it runs\n")
            assert process.stdout.readline() == b"it runs\n"

            assert marked(uuid) == [process.pid]
            end_stragglers(uuid)

            assert process.wait(DEADLINE) == -signal.SIGKILL
        finally:
            process.kill()


def test_a_process_whose_environment_is_not_laid_out_yet_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    uuid, read, unseen = str(uuid4()), Path.read_bytes, ["environ", "cmdline", "environ", "cmdline"]
    argv = (sys.executable, "-c", "import sys; sys.stdin.read()")
    with subprocess.Popen(argv, stdin=subprocess.PIPE, env={**os.environ, MARK: uuid}) as process:

        def read_bytes(path: Path) -> bytes:
            """Read as while the kernel starts the process's program."""
            if unseen and path == Path(f"/proc/{process.pid}/{unseen[0]}"):
                unseen.pop(0)
                return b""
            return read(path)

        monkeypatch.setattr(Path, "read_bytes", read_bytes)
        try:
            assert marked(uuid) == [process.pid]
            assert not unseen
        finally:
            process.kill()
