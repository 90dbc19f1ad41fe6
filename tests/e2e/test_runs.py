"""A run of tests with workers of its own stops everything that it started."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from emulators.processes import Server, family
from emulators.record import Record
from tests.harness.waiting import MAX_SECONDS, await_value

ROOT: Final = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.emulator
@pytest.mark.parametrize("ending", [None, signal.SIGINT, signal.SIGTERM])
def test_a_run_always_stops_the_emulators_that_its_workers_started(
    tmp_path: Path, ending: signal.Signals | None
) -> None:
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "2",
        "-p",
        "no:cacheprovider",
        "tests/contract/test_key_store.py",
    ]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as run:
        started = await_started(run, tmp_path)
        if ending is not None:
            run.send_signal(ending)
        code = run.wait(MAX_SECONDS)

    assert code == (pytest.ExitCode.OK if ending is None else pytest.ExitCode.INTERRUPTED)
    assert not [server for server in started if family(server)]
    assert not list(tmp_path.glob("launchyard-tests-*"))


def await_started(run: "subprocess.Popen[bytes]", folder: Path) -> list[Server]:
    """Wait until the run has started a server; return the servers that it started."""

    def read() -> list[Server]:
        assert run.poll() is None
        return [server for home in folder.glob("launchyard-tests-*") for server in Record(home).read()]

    return await_value(read, "a server of the run")
