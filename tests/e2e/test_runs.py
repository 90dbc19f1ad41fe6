"""A run of tests with workers of its own: what is left of it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from emulators.processes import Server, family
from emulators.record import Record

ROOT: Final = Path(__file__).parents[2]
SECONDS: Final = 300.0


@pytest.mark.slow
@pytest.mark.emulator
@pytest.mark.parametrize("ending", [None, signal.SIGINT, signal.SIGTERM])
def test_a_run_stops_the_emulators_that_its_workers_started_however_it_ends(
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
        code = run.wait(SECONDS)

    assert code == (pytest.ExitCode.OK if ending is None else pytest.ExitCode.INTERRUPTED)
    assert not [server for server in started if family(server)]
    assert not list(tmp_path.glob("launchyard-tests-*"))


def await_started(run: "subprocess.Popen[bytes]", folder: Path) -> list[Server]:
    """Wait until the run has started a server: a file tells nobody when it is written."""
    deadline = time.monotonic() + SECONDS
    while not (started := [server for home in folder.glob("launchyard-tests-*") for server in Record(home).read()]):
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return started
