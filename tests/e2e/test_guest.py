"""The guest image in a real machine under emulation: the worker runs inside its kernel, and the machine goes off."""

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from qemu.qmp import QMPClient

from emulators.mods import validate
from emulators.processes import LOOPBACK, free_port, stop
from emulators.source import start_source
from shared.domain.spec import CapacitySpec, ExportSpec, NodeSize
from shared.image import verify
from tests.worker.control_plane import SIGNATURE, TOKEN, serving
from worker.guest.build import build
from worker.guest.root import PROJECT

pytestmark = pytest.mark.vm

GATEWAY: Final = "10.0.2.2"
"""Where QEMU's user network shows the host's loopback addresses."""
BOOT_SECONDS: Final = 600.0
OFF_SECONDS: Final = 300.0
ORAL: Final = "01K9MHYD10FX3DM9PX4BQZ5B48"


@contextmanager
def machine(image: Path, configuration: bytes, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running machine: its serial console is `folder/serial.log`, its QMP socket `folder/qmp`."""
    (folder / "config.json").write_bytes(configuration)
    with (folder / "qemu.log").open("wb") as log:
        running = subprocess.Popen(argv(image, folder), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def argv(image: Path, folder: Path) -> list[str]:
    manifest = verify(image, image.name)
    return [
        *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "256"),
        *("-nodefaults", "-nographic", "-no-reboot", "-vga", "none"),
        *("-kernel", str(image / manifest.kernel.name), "-initrd", str(image / manifest.initrd.name)),
        *("-append", manifest.cmdline),
        *("-drive", f"file={image / manifest.root.name},if=virtio,format=raw,readonly=on"),
        *("-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0,romfile="),
        *("-fw_cfg", f"name=opt/launchyard/config.json,file={folder / 'config.json'}"),
        *("-serial", f"file:{folder / 'serial.log'}"),
        *("-qmp", f"unix:{folder / 'qmp'},server=on,wait=off"),
    ]


def test_an_export_runs_inside_the_guest_and_its_file_arrives(guest_image: Path, tmp_path: Path) -> None:
    port = free_port()
    source = start_source(port, tmp_path)
    try:
        with serving() as plane:
            config = plane.config(ExportSpec(pi=ORAL), source=f"http://{LOOPBACK}:{port}", gateway=GATEWAY)
            with machine(guest_image, config.canonical(), tmp_path) as running:
                plane.await_event("completed", BOOT_SECONDS)
                assert running.wait(OFF_SECONDS) == 0
    finally:
        stop(source)

    [upload] = plane.uploads
    assert upload.headers["host"] == plane.url.removeprefix("http://")
    record = tmp_path / f"{ORAL}.xml"
    record.write_bytes(upload.body)
    assert validate(record) == []
    assert "<title>Interview with a chain bearer</title>" in record.read_text()
    assert plane.events == ["started", "upload", "completed"]
    serial = (tmp_path / "serial.log").read_text(errors="replace")
    release = re.search(r"started on Linux (\S+-cloud-amd64), ", serial)
    assert release
    assert release[1] != os.uname().release
    assert "[guest] the worker exited with 0; powering off" in serial
    assert TOKEN not in serial
    assert SIGNATURE not in serial


def test_a_capacity_machine_stays_up_until_its_power_button_is_pressed(guest_image: Path, tmp_path: Path) -> None:
    with serving() as plane:
        config = plane.config(CapacitySpec(datacenter="local:dev", node_size=NodeSize.TINY), gateway=GATEWAY)
        with machine(guest_image, config.canonical(), tmp_path) as running:
            plane.await_event("started", BOOT_SECONDS)
            assert running.poll() is None

            asyncio.run(press_power_button(tmp_path / "qmp"))

            assert running.wait(OFF_SECONDS) == 0
    assert plane.events == ["started"]


def test_a_worker_that_cannot_start_still_powers_its_machine_off(guest_image: Path, tmp_path: Path) -> None:
    with machine(guest_image, b"{}", tmp_path) as running:
        assert running.wait(BOOT_SECONDS) == 0

    assert "[guest] the worker exited with 1; powering off" in (tmp_path / "serial.log").read_text(errors="replace")


def test_the_same_inputs_give_the_same_image(guest_image: Path, tmp_path: Path) -> None:
    assert build(tmp_path, PROJECT / ".launchyard" / "cache") == guest_image.name


def test_an_image_that_is_up_to_date_is_not_built_again(guest_image: Path) -> None:
    before = guest_image.stat().st_mtime_ns

    assert build(guest_image.parent, PROJECT / ".launchyard" / "cache") == guest_image.name
    assert guest_image.stat().st_mtime_ns == before


async def press_power_button(socket: Path) -> None:
    monitor = QMPClient("test")
    await monitor.connect(str(socket))
    await monitor.execute("system_powerdown")
    await monitor.disconnect()
