"""The whole line: a POST, the store and the bell, a launcher, real machines, the bucket, the download."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.vm
@pytest.mark.parametrize("backend", ["memory", pytest.param("auto", marks=[pytest.mark.emulator, pytest.mark.slow])])
def test_the_demo_runs_a_capacity_order_and_an_export_in_machines_and_leaves_nothing(
    guest_image: Path, backend: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "emulators.demo"],
        cwd=ROOT,
        env={**os.environ, "LAUNCHYARD_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("the Firestore and Pub/Sub emulators" in done.stdout) == (backend == "auto")
    assert "started on Linux" in done.stdout
    assert "valid MODS 3.8" in done.stdout
    home = next(line.split()[-1] for line in done.stdout.splitlines() if "the environment is in" in line)
    assert not list((ROOT / home).parent.glob("launcher/vms/*"))
    assert not machines_of((ROOT / home).parent)


def machines_of(home: Path) -> list[psutil.Process]:
    """The processes that work in the stack's folder: a machine's is started in its own directory there."""
    return [
        process
        for process in psutil.process_iter(["cwd"])
        if process.info["cwd"] and Path(process.info["cwd"]).is_relative_to(home)
    ]
