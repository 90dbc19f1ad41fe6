"""One directory a machine, `<state>/vms/<order_id>-<epoch>/`: whole on the disk before the machine starts.

All that a daemon must know to go on with a machine that an earlier one started is in it.
"""

import errno
import fcntl
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from launcher.machines.records import PARTIAL, VmLease, VmManifest, VmProcess, replace, synchronise, write_durably
from shared.crash_points import Point, reach

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
QUARANTINE: Final = "quarantine"
REMOVED: Final = ".removed"
FILE_SYSTEMS_OWN: Final = "lost+found"
MOST_ASIDE: Final = 1000
"""Of one name."""

KEPT_LOGS: Final = 200
"""How many machines' serial logs outlive their machines, in `<state>/logs/`."""
LOG_MIB: Final = 16
"""How large a machine's log may grow; then its first half goes."""
LOGS_SECONDS: Final = 5.0
"""How long the writer of an ended machine's logs is waited for, which has a pipe to empty."""
LOOK_SECONDS: Final = 0.01
MIB: Final = 1 << 20
BLOCK: Final = 512
"""Bytes of a block as stat(2) counts them."""

log = structlog.get_logger()


class LinkOrCopy(ValueError):
    """This only looks like a machine's directory; the message says why."""


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
        """Where its serial log is once the directory is removed."""
        return self.path.parent.parent / LOGS / f"{self.path.name}.log"

    @property
    def launch_log(self) -> Path:
        """What the machine's own process says, as against the guest in it."""
        return self.path / LAUNCH_LOG

    @property
    def temporary(self) -> Path:
        """Where a machine that is a plain process puts its temporary files, so that they go with it."""
        return self.path / TEMPORARY

    def record_process(self, process: VmProcess) -> None:
        write_durably(self.path / PROCESS, process.model_dump_json(indent=2).encode())

    def process(self) -> VmProcess | None:
        """Return the recorded process; None where none was."""
        try:
            return VmProcess.model_validate_json((self.path / PROCESS).read_bytes())
        except FileNotFoundError:
            return None

    def record_lease(self, lease: VmLease) -> None:
        """Not synchronised to the disk: after a crash of the host no machine runs. Raises OSError."""
        replace(self.path / LEASE, lease.model_dump_json().encode())

    def lease(self) -> VmLease:
        """Raises OSError, ValidationError."""
        return VmLease.model_validate_json((self.path / LEASE).read_bytes())

    def cap_logs(self) -> None:
        """Empty a log that has grown too large, of a machine that an earlier version started: it has no writer that
        bounds it. It appends, and so goes on at its start. Raises OSError.
        """
        for log in (self.serial_log, self.launch_log):
            if log.exists() and log.stat().st_size > LOG_MIB * MIB:
                os.truncate(log, 0)

    def await_logs(self) -> None:
        """Return once all that the machine wrote before its end is in its logs. Raises OSError.

        By the lock that the logs' writer holds (bounded_log.py); whatever still keeps that alive is not waited for.
        """
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        deadline = time.monotonic() + LOGS_SECONDS
        try:
            while not _locked(folder):
                if time.monotonic() > deadline:
                    log.warning("a machine's logs are still written", vm=self.manifest.vm)
                    return
                time.sleep(LOOK_SECONDS)
        finally:
            os.close(folder)

    def remove(self) -> None:
        """Remove the directory of a machine that is gone, keeping its serial log in `<state>/logs/`. Raises OSError.

        A log that cannot be kept does not keep the directory: its disk may be 80 GiB.
        """
        self.await_logs()
        try:
            _keep(self.serial_log, self.kept_log)
        except OSError as error:
            log.warning("a machine's serial log is not kept", vm=self.manifest.vm, error=error.strerror or str(error))
        # Renamed first: a directory that is half removed when the daemon dies is known as one.
        removed = self.path.rename(self.path.with_name(f".{self.path.name}{REMOVED}"))
        reach(Point.LAUNCHER_REMOVING)
        shutil.rmtree(removed)


def create(state: Path, manifest: VmManifest, config: bytes, lease: VmLease) -> VmDirectory:
    """Write a machine's directory: there whole, or not at all. Raises OSError."""
    path = location(state, manifest.order_id, manifest.epoch)
    path.parent.mkdir(parents=True, exist_ok=True)
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


def remaining(state: Path) -> list[Path]:
    """Return what stands where machines' directories are, having removed those half written or half removed.

    Raises OSError if that cannot be listed.
    """
    for path in _entries(state):
        if path.name.startswith(".") and path.name.endswith((PARTIAL, REMOVED)):
            _finish_removing(path)
    return listed(state)


def listed(state: Path) -> list[Path]:
    """Return what stands where machines' directories are, but for those half written or half removed.

    Raises OSError if that cannot be listed: to take it for empty is to give up the orders of machines that run.
    """
    return [path for path in _entries(state) if not path.name.startswith(".") and path.name != FILE_SYSTEMS_OWN]


def read(path: Path) -> VmDirectory:
    """Raises OSError, ValidationError if this is no machine's directory, and LinkOrCopy."""
    if path.is_symlink():
        raise LinkOrCopy("it is a symbolic link")
    manifest = VmManifest.model_validate_json((path / MANIFEST).read_bytes())
    if path.name != _name(manifest.order_id, manifest.epoch):
        raise LinkOrCopy(f"its manifest is that of {_name(manifest.order_id, manifest.epoch)}")
    return VmDirectory(path, manifest)


def quarantine(path: Path) -> Path:
    """Put aside what cannot be explained, and return where it is now. Raises OSError.

    Nothing is copied: if `vms` is a file system of its own, it stays there, under a name that nobody looks at.
    """
    try:
        return _moved(path, path.parent.parent / QUARANTINE)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    return _moved(path, path.parent / f".{QUARANTINE}")


def used_mib(path: Path) -> int:
    """Return what the files of a directory take, in MiB; 0 where there is none."""
    try:
        return sum(entry.lstat().st_blocks * BLOCK for entry in path.rglob("*")) // MIB
    except OSError:  # it is being removed
        return 0


def _entries(state: Path) -> list[Path]:
    try:
        return sorted((state / VMS).iterdir())
    except FileNotFoundError:
        return []


def _name(order_id: str, epoch: int) -> str:
    return f"{order_id}-{epoch}"


def _finish_removing(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except OSError as error:
        log.error("a half removed directory stays", path=str(path), error=error.strerror)


def _moved(path: Path, folder: Path) -> Path:
    """Move into a folder, under a name that is free there. Raises OSError."""
    folder.mkdir(exist_ok=True, mode=0o700)
    names = (path.name, *(f"{path.name}.{number}" for number in range(1, MOST_ASIDE)))
    free = next((name for name in names if not os.path.lexists(folder / name)), None)
    if free is None:
        raise FileExistsError(errno.EEXIST, "There are too many of this name", str(folder / path.name))
    return path.rename(folder / free)


def _keep(serial_log: Path, kept: Path) -> None:
    """Move a log to where logs are kept, which may be another file system, and remove the oldest. Raises OSError."""
    kept.parent.mkdir(exist_ok=True)
    if serial_log.exists():
        try:
            shutil.move(serial_log, kept)
        except OSError:
            kept.unlink(missing_ok=True)  # half of it, if that disk is full
            raise
    _prune(kept.parent)


def _locked(folder: int) -> bool:
    """Take the lock on a folder, and return whether that went well at once."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _prune(logs: Path) -> None:
    """Remove the oldest logs. Others may be at it, too: what one of them removed meanwhile is no error."""
    found: list[tuple[float, Path]] = []
    for path in logs.glob("*.log"):
        with suppress(OSError):
            found.append((path.stat().st_mtime, path))
    for _, path in sorted(found)[:-KEPT_LOGS]:
        with suppress(OSError):
            path.unlink()
