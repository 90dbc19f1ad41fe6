"""One directory a machine, `<state>/vms/<order_id>-<epoch>/`: whole on the disk before the machine starts."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

MANIFEST: Final = "manifest.json"
CONFIG: Final = "config.json"
PROCESS: Final = "process.json"
SERIAL_LOG: Final = "serial.log"
LAUNCH_LOG: Final = "launch.log"
QMP_SOCKET: Final = "qmp.sock"

KEPT_LOGS: Final = 200
"""How many machines' serial logs outlive their machines, in `<state>/logs/`."""

log = structlog.get_logger()


class VmManifest(BaseModel):
    """What this machine is. `argv` is what was to be run, with file names relative to the directory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    order_id: str
    epoch: int
    vm: str
    uuid: str
    provider: str
    mode: str | None
    image_digest: str | None
    argv: tuple[str, ...]


class VmProcess(BaseModel):
    """The process that was started. `started` is in clock ticks since the host booted (proc(5), field 22 of stat)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class VmDirectory:
    path: Path
    manifest: VmManifest

    @property
    def config(self) -> Path:
        return self.path / CONFIG

    @property
    def serial_log(self) -> Path:
        return self.path / SERIAL_LOG

    @property
    def launch_log(self) -> Path:
        """What the machine's own process says, as against the guest in it."""
        return self.path / LAUNCH_LOG

    def record_process(self, process: VmProcess) -> None:
        write_durably(self.path / PROCESS, process.model_dump_json(indent=2).encode())

    def process(self) -> VmProcess | None:
        """Return the recorded process; None where none was."""
        try:
            return VmProcess.model_validate_json((self.path / PROCESS).read_bytes())
        except FileNotFoundError:
            return None

    def remove(self) -> None:
        """Remove the directory of a machine that is gone, keeping its serial log in `<state>/logs/`."""
        logs = self.path.parent.parent / "logs"
        logs.mkdir(exist_ok=True)
        if self.serial_log.exists():
            self.serial_log.replace(logs / f"{self.path.name}.log")
        _prune(logs)
        # Renamed first: a directory that is half removed when the daemon dies is known as one.
        shutil.rmtree(self.path.rename(self.path.with_name(f".{self.path.name}.removed")))


def create(state: Path, manifest: VmManifest, config: bytes) -> VmDirectory:
    """Write a machine's directory: there whole, or not at all. Raises OSError."""
    path = location(state, manifest.order_id, manifest.epoch)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.mkdir(mode=0o700)
        write_durably(partial / MANIFEST, manifest.model_dump_json(indent=2).encode())
        write_durably(partial / CONFIG, config)
        partial.rename(path)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _sync(path.parent)
    return VmDirectory(path, manifest)


def location(state: Path, order_id: str, epoch: int) -> Path:
    return state / "vms" / f"{order_id}-{epoch}"


def remaining(state: Path) -> Iterator[VmDirectory]:
    """Yield the directories that an earlier daemon left, having removed those half written or half removed.

    One that cannot be read is left alone: nobody knows what it is, and it must not keep the daemon from starting.
    """
    for path in sorted((state / "vms").glob("*")):
        try:
            if path.name.startswith("."):
                shutil.rmtree(path)
                continue
            directory = VmDirectory(path, VmManifest.model_validate_json((path / MANIFEST).read_bytes()))
        except (OSError, ValidationError) as error:
            log.error("a directory is left alone", path=str(path), error=type(error).__name__)
            continue
        yield directory


def write_durably(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads: after a crash it is there whole, or not at all. Raises OSError."""
    partial = path.with_name(f".{path.name}.partial")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _prune(logs: Path) -> None:
    oldest_first = sorted(logs.glob("*.log"), key=lambda log: log.stat().st_mtime)
    for log in oldest_first[:-KEPT_LOGS]:
        log.unlink(missing_ok=True)
