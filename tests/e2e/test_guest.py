"""The guest image in a real, emulated machine: the worker runs in it, and the machine powers itself off."""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from qemu.qmp import QMPClient

from emulators.mods import validate
from emulators.ports import free_port
from emulators.processes import LOOPBACK, stop
from emulators.source import start_source
from shared.domain.spec import CapacitySpec, ExportSpec, NodeSize
from shared.guest.image import MANIFEST, ImageManifest, verify
from tests.worker.control_plane import SIGNATURE, TOKEN, serving
from worker.guest import lock
from worker.guest.build import build
from worker.guest.commands import BuildFailed
from worker.guest.root import PROJECT
from worker.guest.verity import BLOCK

pytestmark = pytest.mark.vm

GATEWAY: Final = "10.0.2.2"
"""The address at which QEMU's user network has the host's loopback addresses."""
BOOT_SECONDS: Final = 600.0
OFF_SECONDS: Final = 300.0
CACHE: Final = PROJECT / ".launchyard" / "cache"
READ: Final = "virtio_blk_handle_read"
"""QEMU's trace event: one line a read of a disk, with its first sector."""
SECTOR: Final = 512
ORAL: Final = "01K9MHYD10FX3DM9PX4BQZ5B48"
TINY: Final = CapacitySpec(datacenter="local:dev", node_size=NodeSize.TINY)


@dataclass(frozen=True, slots=True)
class CapacityRun:
    """What a capacity machine did from its start until its power button was pressed.

    `reads` are where it read its root before its report, in bytes from the root's start, in order.
    """

    steps: tuple[str, ...]
    reads: tuple[int, ...]
    stayed_up: bool
    exit_code: int
    serial: str


@pytest.fixture(scope="module")
def capacity_run(guest_image: Path, tmp_path_factory: pytest.TempPathFactory) -> CapacityRun:
    """One capacity machine, whose button is pressed once it has reported."""
    folder = tmp_path_factory.mktemp("capacity")
    with serving() as plane:
        config = plane.config(TINY, gateway=GATEWAY)
        with machine(guest_image, config.canonical(), folder, trace=True) as running:
            plane.await_event("started", BOOT_SECONDS)
            reads, stayed_up = data_reads(guest_image, folder), running.poll() is None
            asyncio.run(press_power_button(folder / "qmp"))
            exit_code = running.wait(OFF_SECONDS)
    serial = (folder / "serial.log").read_text(errors="replace")
    return CapacityRun(tuple(plane.steps), tuple(reads), stayed_up, exit_code, serial)


@contextmanager
def machine(
    image: Path, configuration: bytes, folder: Path, cmdline: str | None = None, trace: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """A running machine: its serial console is `folder/serial.log`, its QMP socket `folder/qmp`.

    `cmdline` replaces the image's own; with `trace`, each read of the root's disk is written to `folder/reads`.
    """
    (folder / "config.json").write_bytes(configuration)
    argv = [*arguments(image, folder, cmdline), *(("-trace", f"{READ},file={folder / 'reads'}") if trace else ())]
    with (folder / "qemu.log").open("wb") as log:
        running = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def arguments(image: Path, folder: Path, cmdline: str | None) -> list[str]:
    manifest = ImageManifest.model_validate_json((image / MANIFEST).read_bytes())
    return [
        *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "256"),
        *("-nodefaults", "-nographic", "-no-reboot", "-vga", "none"),
        *("-kernel", str(image / manifest.unpacked_kernel.name), "-initrd", str(image / manifest.initrd.name)),
        *("-append", manifest.cmdline if cmdline is None else cmdline),
        *("-drive", f"file={image / manifest.root.name},if=virtio,format=raw,readonly=on"),
        *("-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0,romfile="),
        *("-fw_cfg", f"name=opt/launchyard/config.json,file={folder / 'config.json'}"),
        *("-serial", f"file:{folder / 'serial.log'}"),
        *("-qmp", f"unix:{folder / 'qmp'},server=on,wait=off"),
    ]


@pytest.mark.slow
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
    assert plane.steps == ["started", "upload", "completed"]
    serial = (tmp_path / "serial.log").read_text(errors="replace")
    runs_on_its_own_kernel(serial)
    assert "[guest] the worker exited with 0; powering off" in serial
    assert TOKEN not in serial
    assert SIGNATURE not in serial


def test_a_capacity_machine_stays_up_until_its_power_button_is_pressed(capacity_run: CapacityRun) -> None:
    assert capacity_run.stayed_up
    assert capacity_run.exit_code == 0
    assert capacity_run.steps == ("started",)


def test_a_machine_runs_its_own_kernel_and_its_console_shows_no_credential(capacity_run: CapacityRun) -> None:
    runs_on_its_own_kernel(capacity_run.serial)
    assert TOKEN not in capacity_run.serial


@pytest.mark.slow
def test_a_worker_that_cannot_start_still_powers_its_machine_off(guest_image: Path, tmp_path: Path) -> None:
    serial = await_end(guest_image, tmp_path)

    assert "[guest] the worker exited with 1; powering off" in serial


@pytest.mark.slow
def test_a_root_with_a_changed_superblock_ends_the_machine_before_its_worker_starts(
    guest_image: Path, tmp_path: Path
) -> None:
    serial = await_end(changed(guest_image, tmp_path, offset=8), tmp_path)

    assert "is corrupted" in serial
    assert "[worker]" not in serial


def test_a_changed_byte_that_the_worker_reads_before_its_report_ends_the_machine(
    guest_image: Path, capacity_run: CapacityRun, tmp_path: Path
) -> None:
    imported = capacity_run.reads[len(capacity_run.reads) * 3 // 4]  # by then Python runs; the last may be of after
    with serving() as plane:
        configuration = plane.config(TINY, gateway=GATEWAY)
        serial = await_end(changed(guest_image, tmp_path, imported), tmp_path, configuration.canonical())

    assert "panic - not syncing: dm-verity device corrupted" in serial
    assert plane.steps == []
    assert capacity_run.steps == ("started",)  # the whole image's


def test_a_command_line_without_the_roots_hash_powers_the_machine_off(guest_image: Path, tmp_path: Path) -> None:
    manifest = verify(guest_image, guest_image.name)
    cmdline = re.sub(r" roothash=\w+", "", manifest.cmdline)
    assert cmdline != manifest.cmdline

    serial = await_end(guest_image, tmp_path, cmdline=cmdline)

    assert "[guest] the command line has no root hash; powering off" in serial
    assert "[worker]" not in serial


def test_every_module_loads_and_a_machine_that_is_no_trust_domain_goes_on(capacity_run: CapacityRun) -> None:
    assert "cannot be loaded" not in capacity_run.serial
    assert capacity_run.steps == ("started",)


@pytest.mark.slow
def test_the_same_inputs_give_the_same_image_whatever_surrounds_the_build(
    guest_image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TZ": "Asia/Tokyo", "LANG": "de_DE.UTF-8", "PYTHONOPTIMIZE": "2", "ZSTD_CLEVEL": "1"}.items():
        monkeypatch.setenv(name, value)
    before = os.umask(0o077)
    try:
        assert build(tmp_path, CACHE) == guest_image.name
    finally:
        os.umask(before)


@pytest.mark.slow
def test_a_lock_that_the_archive_does_not_have_is_refused_or_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doctored = tmp_path / "packages.lock"
    busybox = next(package for package in lock.read() if package.name == "busybox-static")
    doctored.write_text(lock.LOCK.read_text().replace(busybox.file, busybox.file.replace("1.3", "0.3")))
    monkeypatch.setattr(lock, "LOCK", doctored)
    lines: list[str] = []

    with pytest.raises(BuildFailed, match=r"no longer has busybox-static 1:0\.3"):
        build(tmp_path / "images", CACHE, only_locked=True)
    digest = build(tmp_path / "images", CACHE, report=lines.append)

    assert any("Building from the suite's present packages" in line for line in lines)
    assert verify(tmp_path / "images" / digest, digest)


def test_an_image_that_is_up_to_date_is_not_built_again(guest_image: Path) -> None:
    before = guest_image.stat().st_mtime_ns

    assert build(guest_image.parent, CACHE) == guest_image.name
    assert guest_image.stat().st_mtime_ns == before


def runs_on_its_own_kernel(serial: str) -> None:
    release = re.search(r"started on Linux (\S+-cloud-amd64), ", serial)
    assert release
    assert release[1] != os.uname().release


def await_end(image: Path, folder: Path, configuration: bytes = b"{}", cmdline: str | None = None) -> str:
    """Run a machine until it ends by itself, and return its serial console's output."""
    (folder / "serial.log").unlink(missing_ok=True)
    with machine(image, configuration, folder, cmdline) as running:
        assert running.wait(BOOT_SECONDS) == 0
    return (folder / "serial.log").read_text(errors="replace")


def changed(image: Path, folder: Path, offset: int) -> Path:
    """Return a copy of an image with one byte of its root changed."""
    copy = folder / "image"
    shutil.copytree(image, copy)
    with (copy / verify(image, image.name).root.name).open("r+b") as root:
        root.seek(offset)
        [byte] = root.read(1)
        root.seek(offset)
        root.write(bytes([byte ^ 1]))
    return copy


def data_reads(image: Path, folder: Path) -> list[int]:
    """Return where the machine read its root, in bytes from its start, in order; the hash tree left out."""
    blocks = re.search(r"rootblocks=(\d+)", verify(image, image.name).cmdline)
    assert blocks
    sectors = [int(sector) for sector in re.findall(r" sector (\d+) ", (folder / "reads").read_text())]
    return [sector * SECTOR for sector in sectors if sector * SECTOR < int(blocks[1]) * BLOCK]


async def press_power_button(socket: Path) -> None:
    monitor = QMPClient("test")
    await monitor.connect(str(socket))
    await monitor.execute("system_powerdown")
    await monitor.disconnect()
