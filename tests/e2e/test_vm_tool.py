"""An operator's machine from the real guest image: `launchyard vm`, a process a command."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import psutil
import pytest

from shared.guest.console import UP

pytestmark = [pytest.mark.vm, pytest.mark.slow]

TOOL: Final = (sys.executable, "-c", "from launcher.cli.vm import app; app()")
SMALL: Final = ("--size", "tiny", "--memory", "256M", "--vcpus", "1")


def vm(state: Path, *words: str) -> str:
    """Run a command that must exit 0; return what it printed."""
    environment = {**os.environ, "LAUNCHYARD_VM_STATE_DIR": str(state), "LAUNCHYARD_QEMU_MODE": "auto"}
    done = subprocess.run((*TOOL, *words), env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_machine_without_an_order_comes_up_and_idles_until_it_is_deleted(guest_image: Path, tmp_path: Path) -> None:
    made = json.loads(vm(tmp_path, "new", "-i", str(guest_image), *SMALL, "--wait"))
    try:
        assert (made["ip"], made["network"]) == ("10.0.2.15", "user")
        assert f"vm={made['name']} {UP}" in Path(made["serial_log"]).read_text(errors="replace")
        assert vm(tmp_path, "list") == f"{made['name']}\n"
        process = psutil.Process(int(json.loads(vm(tmp_path, "status", made["name"]))["id"]))
        assert made["uuid"] in process.cmdline()
    finally:
        vm(tmp_path, "delete", "all")
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert list((tmp_path / "vms").iterdir()) == []
