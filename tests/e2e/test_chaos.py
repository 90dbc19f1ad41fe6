"""Chaos: kill -9, SIGSTOP, lost and repeated answers, repeated bells; nothing lost, doubled or left."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.emulator

ROOT = Path(__file__).parents[2]
SHORT = ("--seconds", "15", "--orders", "20", "--launchers", "3")
SECONDS = 60
ORDERS = 60
COUNTS = re.compile(
    r"created (\d+) / succeeded (\d+) / failed (\d+)[^/]* / cancelled (\d+) / expired (\d+) / running (\d+)"
    r" / duplicates 0 / orphans 0 / ghosts 0 / lost 0"
)


def argv(home: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "tests.chaos", "--home", str(home), "--seed", "7", *options]


def test_fifteen_seconds_of_chaos_lose_nothing_double_nothing_and_leave_nothing(tmp_path: Path) -> None:
    home = tmp_path / "chaos"
    done = subprocess.run(argv(home, *SHORT), cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert COUNTS.search(done.stdout), done.stdout
    report = json.loads((home / "report.json").read_text())
    assert report["faults"]
    assert any(blow.startswith("launcher killed") for blow in report["broken"])
    assert not working_in(home)


@pytest.mark.slow
def test_a_minute_of_chaos_loses_nothing_doubles_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    home = tmp_path / "chaos"
    done = subprocess.run(
        argv(home, "--seconds", str(SECONDS), "--orders", str(ORDERS)),
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
    assert created == ORDERS + 1  # the last is placed when all is over
    assert ended[0] > ORDERS / 2  # where hardly anything succeeds, nothing is lost, doubled or left either
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
        deadline = time.monotonic() + 300
        while not list(home.glob("launchers/*/vms/*")):  # the first machine's directory: the storm has begun
            assert run.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        run.send_signal(signal.SIGTERM)
        assert run.wait(300) in (128 + signal.SIGTERM, 1)

    assert not working_in(home)


def working_in(home: Path) -> list[str]:
    """What runs still and names the run's folder in its arguments, or in its environment: as what a task detached."""
    started = home / "logs" / "started.jsonl"
    assert not started.exists()
    return [
        " ".join(process.info["cmdline"] or ())
        for process in psutil.process_iter(["cmdline", "environ", "pid"])
        if process.info["pid"] != os.getpid()
        and str(home) in " ".join([*(process.info["cmdline"] or ()), *(process.info["environ"] or {}).values()])
    ]
