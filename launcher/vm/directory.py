"""One directory a machine, `<state>/vms/<order_id>-<epoch>/`: whole on the disk before the machine starts.

All that a daemon must know to go on with a machine that an earlier one started is in it.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from launcher.vm.records import PARTIAL, VmLease, VmManifest, VmProcess, replace, synchronise, write_durably
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

QUARANTINE: Final = "quarantine"
REMOVED: Final = ".removed"

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
        """Remove the directory of a machine that is gone, keeping its serial log in `<state>/logs/`."""
        self.await_logs()
        logs = self.path.parent.parent / "logs"
        logs.mkdir(exist_ok=True)
        if self.serial_log.exists():
            self.serial_log.replace(logs / f"{self.path.name}.log")
        _prune(logs)
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
    return state / "vms" / f"{order_id}-{epoch}"


def remaining(state: Path) -> Iterator[Path]:
    """Yield what stands where machines' directories are, having removed those half written or half removed."""
    for path in sorted((state / "vms").glob("*")):
        if not path.name.startswith("."):
            yield path
            continue
        try:
            shutil.rmtree(path)
        except OSError as error:
            log.error("a half removed directory stays", path=str(path), error=error.strerror)


def read(path: Path) -> VmDirectory:
    """Raises OSError, ValidationError where there is no machine's directory."""
    return VmDirectory(path, VmManifest.model_validate_json((path / MANIFEST).read_bytes()))


def quarantine(path: Path) -> Path:
    """Put a directory that cannot be explained aside, and return where. Raises OSError."""
    aside = path.parent.parent / QUARANTINE / path.name
    aside.parent.mkdir(exist_ok=True, mode=0o700)
    return path.rename(aside)


def used_mib(path: Path) -> int:
    """Return what the files of a directory take, in MiB; 0 where there is none."""
    try:
        return sum(entry.lstat().st_blocks * BLOCK for entry in path.rglob("*")) // MIB
    except OSError:  # it is being removed
        return 0


def _locked(folder: int) -> bool:
    """Take the lock on a folder, and return whether that went well at once."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _prune(logs: Path) -> None:
    oldest_first = sorted(logs.glob("*.log"), key=lambda log: log.stat().st_mtime)
    for log in oldest_first[:-KEPT_LOGS]:
        log.unlink(missing_ok=True)
