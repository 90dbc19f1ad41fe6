"""The directory of a machine, `<state>/vms/<order_id>-<epoch>/`: complete on the disk before the machine starts.

It contains all that a later daemon needs to continue with the machine.
"""

import fcntl
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from launcher.machines.private import make_folder
from launcher.machines.records import PARTIAL, VmLease, VmManifest, VmProcess, replace, synchronise, write_durably
from shared.crash_points import Point, reach
from shared.log_events import LogEvent

MANIFEST: Final = "manifest.json"
CONFIG: Final = "config.json"
PROCESS: Final = "process.json"
LEASE: Final = "lease.json"
SERIAL_LOG: Final = "serial.log"
LAUNCH_LOG: Final = "launch.log"
QMP_SOCKET: Final = "qmp.sock"
DATA_DISK: Final = "data.img"
TEMPORARY: Final = "tmp"

VMS: Final = "vms"
LOGS: Final = "logs"
REMOVED: Final = ".removed"
MAX_KEPT_LOGS: Final = 200
"""How many serial logs of ended machines are kept, in `<state>/logs/`."""
MAX_LOG_MIB: Final = 16
"""The size at which a machine's log loses its first half."""
LOGS_SECONDS: Final = 5.0
"""How long to wait for the writer of an ended machine's logs, which has a pipe to empty."""
POLL_SECONDS: Final = 0.01
MIB: Final = 1 << 20
BLOCK: Final = 512
"""Bytes of a block as stat(2) counts them."""

log = structlog.get_logger()


class LinkOrCopy(ValueError):
    """A link to a machine's directory, or a copy of one; the message says which."""


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
    def kept_log(self) -> Path:
        """Return where its serial log is after the directory's removal."""
        return self.path.parent.parent / LOGS / f"{self.path.name}.log"

    @property
    def launch_log(self) -> Path:
        """The output of the machine's process; the guest in it writes to the serial log."""
        return self.path / LAUNCH_LOG

    @property
    def temporary(self) -> Path:
        """The temporary files of a machine that is a plain process; they are removed with it."""
        return self.path / TEMPORARY

    def record_process(self, process: VmProcess) -> None:
        write_durably(self.path / PROCESS, process.model_dump_json(indent=2).encode())

    def process(self) -> VmProcess | None:
        """Return the recorded process; None if none was recorded."""
        try:
            return VmProcess.model_validate_json((self.path / PROCESS).read_bytes())
        except FileNotFoundError:
            return None

    def record_lease(self, lease: VmLease) -> None:
        """Not synchronised to the disk: after a crash of the host no machine runs. Raises OSError."""
        replace(self.path / LEASE, lease.model_dump_json().encode())

    def lease(self) -> VmLease:
        """Return the recorded lease. Raises OSError, ValidationError."""
        return VmLease.model_validate_json((self.path / LEASE).read_bytes())

    def cap_logs(self) -> None:
        """Empty logs that are too large, for machines of earlier versions, whose writers set no bound. Such a writer
        appends, so it continues at the log's start. Raises OSError.
        """
        for log in (self.serial_log, self.launch_log):
            if log.exists() and log.stat().st_size > MAX_LOG_MIB * MIB:
                os.truncate(log, 0)

    def await_logs(self) -> None:
        """Return once all that the machine wrote before its end is in its logs. Raises OSError.

        It waits for the lock that the logs' writer holds (bounded_log.py), for LOGS_SECONDS at most.
        """
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        deadline = time.monotonic() + LOGS_SECONDS
        try:
            while not _locked(folder):
                if time.monotonic() > deadline:
                    log.warning(
                        LogEvent.LOG_STILL_WRITTEN,
                        message="The writer of the ended machine's logs has not ended yet.",
                        vm=self.manifest.vm,
                    )
                    return
                time.sleep(POLL_SECONDS)
        finally:
            os.close(folder)

    def remove(self) -> None:
        """Remove the directory of a machine that is gone, but keep its serial log in `<state>/logs/`. Raises OSError.

        If the log cannot be kept, the directory is still removed: its disk may be 80 GiB.
        """
        self.await_logs()
        try:
            _keep(self.serial_log, self.kept_log)
        except OSError as error:
            log.warning(
                LogEvent.LOG_NOT_KEPT,
                message="The ended machine's serial log could not be kept.",
                vm=self.manifest.vm,
                error=error.strerror or str(error),
            )
        # Renamed first: a directory that is half removed when the daemon dies is known as one.
        removed = self.path.rename(self.path.with_name(f".{self.path.name}{REMOVED}"))
        reach(Point.LAUNCHER_REMOVING)
        shutil.rmtree(removed)


def create(state: Path, manifest: VmManifest, config: bytes, lease: VmLease) -> VmDirectory:
    """Write a machine's directory atomically. Raises OSError."""
    path = location(state, manifest.order_id, manifest.epoch)
    make_folder(path.parent)
    partial = path.with_name(f".{path.name}{PARTIAL}")
    try:
        partial.mkdir(mode=0o700)
        write_durably(partial / MANIFEST, manifest.model_dump_json(indent=2).encode())
        write_durably(partial / CONFIG, config)
        replace(partial / LEASE, lease.model_dump_json().encode())
        partial.rename(path)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    synchronise(path.parent)
    return VmDirectory(path, manifest)


def location(state: Path, order_id: str, epoch: int) -> Path:
    return state / VMS / _name(order_id, epoch)


def read(path: Path) -> VmDirectory:
    """Return the machine's directory at a path. Raises OSError, ValidationError, LinkOrCopy if it is not one."""
    if path.is_symlink():
        raise LinkOrCopy("it is a symbolic link")
    manifest = VmManifest.model_validate_json((path / MANIFEST).read_bytes())
    if path.name != _name(manifest.order_id, manifest.epoch):
        raise LinkOrCopy(f"its manifest is that of {_name(manifest.order_id, manifest.epoch)}")
    return VmDirectory(path, manifest)


def used_mib(path: Path) -> int:
    """Return the size of the files in a directory, in MiB; 0 if there is none."""
    try:
        return sum(entry.lstat().st_blocks * BLOCK for entry in path.rglob("*")) // MIB
    except OSError:  # it is being removed
        return 0


def _name(order_id: str, epoch: int) -> str:
    return f"{order_id}-{epoch}"


def _keep(serial_log: Path, kept: Path) -> None:
    """Move a log to where logs are kept, which may be another file system, and remove the oldest. Raises OSError."""
    make_folder(kept.parent)
    if serial_log.exists():
        try:
            shutil.move(serial_log, kept)
        except OSError:
            kept.unlink(missing_ok=True)  # half of it, if that disk is full
            raise
    _prune(kept.parent)


def _locked(folder: int) -> bool:
    """Return whether the lock on a folder could be taken at once."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _prune(logs: Path) -> None:
    """Remove the oldest logs. Another process may remove them, too; that is no error."""
    found: list[tuple[float, Path]] = []
    for path in logs.glob("*.log"):
        with suppress(OSError):
            found.append((path.stat().st_mtime, path))
    for _, path in sorted(found)[:-MAX_KEPT_LOGS]:
        with suppress(OSError):
            path.unlink()
