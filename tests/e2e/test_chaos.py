"""Chaos runs: kill -9, SIGSTOP, lost and repeated answers, repeated bells; nothing is lost, doubled or left."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from tests.harness.waiting import MAX_SECONDS, await_value

pytestmark = pytest.mark.emulator

ROOT = Path(__file__).parents[2]
FIFTEEN_SECONDS = ("--seconds", "15", "--orders", "20", "--launchers", "3")
A_MINUTE = 60
ORDERS = 60
COUNTS = re.compile(
    r"created (\d+) / succeeded (\d+) / failed (\d+)[^/]* / cancelled (\d+) / expired (\d+) / running (\d+)"
    r" / duplicates 0 / orphans 0 / ghosts 0 / lost 0"
)


def argv(home: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "tests.chaos", "--home", str(home), "--seed", "7", *options]


@pytest.fixture
def emulators(firestore_host: str, pubsub_host: str) -> Sequence[str]:
    """The options of a run on the emulators that the tests share."""
    return ("--emulators", firestore_host, pubsub_host)


def test_fifteen_seconds_of_chaos_lose_nothing_double_nothing_and_leave_nothing(
    emulators: Sequence[str], tmp_path: Path
) -> None:
    home = tmp_path / "chaos"
    done = subprocess.run(
        argv(home, *FIFTEEN_SECONDS, *emulators), cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert COUNTS.search(done.stdout), done.stdout
    report = json.loads((home / "report.json").read_text())
    assert report["faults"]
    assert any(disruption.startswith("launcher killed") for disruption in report["broken"])
    assert not working_in(home)


@pytest.mark.slow
def test_a_minute_of_chaos_loses_nothing_doubles_nothing_and_leaves_nothing(
    emulators: Sequence[str], tmp_path: Path
) -> None:
    home = tmp_path / "chaos"
    done = subprocess.run(
        argv(home, "--seconds", str(A_MINUTE), "--orders", str(ORDERS), *emulators),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    counted = COUNTS.search(done.stdout)
    assert counted is not None, done.stdout
    created, *ended = (int(figure) for figure in counted.groups())
    assert created == ORDERS + 1  # the last is placed after the storm
    assert ended[0] > ORDERS / 2  # if hardly anything succeeded, the run would prove nothing
    assert (home / "report.txt").read_text() in done.stdout
    report = json.loads((home / "report.json").read_text())
    verdict = report["verdict"]
    assert sum(ended) == created + verdict["requeued"] - verdict["purged"]
    assert verdict["requeued"]
    assert verdict["purged"]
    assert verdict["downloaded"]
    assert report["effects"]["machines_adopted"]
    assert report["effects"]["machines_lost"]
    assert {fault.split()[-1] for fault in report["faults"]} >= {"drop", "delay", "duplicate", "refuse"}
    assert {"launcher killed", "machine killed", "functions killed", "bell repeated"} <= report["broken"].keys()
    assert not working_in(home)


@pytest.mark.slow
def test_a_chaos_run_that_is_interrupted_leaves_nothing_running(tmp_path: Path) -> None:
    home = tmp_path / "chaos"
    output = (tmp_path / "output").open("wb")
    with output, subprocess.Popen(argv(home), cwd=ROOT, stdout=output, stderr=output) as run:
        await_value(lambda: run.poll() is not None or list(home.glob("launchers/*/vms/*")), "the first machine")
        assert run.poll() is None
        run.send_signal(signal.SIGTERM)
        assert run.wait(MAX_SECONDS) in (128 + signal.SIGTERM, 1)

    assert not working_in(home)


def working_in(home: Path) -> list[str]:
    """Return the processes that name the run's folder in their arguments or environment: detached children, too."""
    started = home / "logs" / "started.jsonl"
    assert not started.exists()
    return [
        " ".join(process.info["cmdline"] or ())
        for process in psutil.process_iter(["cmdline", "environ", "pid"])
        if process.info["pid"] != os.getpid()
        and str(home) in " ".join([*(process.info["cmdline"] or ()), *(process.info["environ"] or {}).values()])
    ]
