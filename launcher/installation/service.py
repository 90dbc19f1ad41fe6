"""Starts and stops the launcher's unit by systemctl(1)."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from launcher.host.checks.service import BOOTED
from launcher.installation.files import SLICE, UNIT

SYSTEMCTL: Final = "systemctl"
JOURNAL: Final = "journalctl"
MACHINES: Final = "launchyard-vm-*.scope"
SECONDS_OF_A_JOB: Final = 240.0
"""More than the unit's TimeoutStopSec= and TimeoutStartSec= together: systemd itself ends the wait, if all is well."""
LINES: Final = 20


class ServiceFailed(Exception):
    """The message says which command failed, with what it printed."""


class NotActive(ServiceFailed):
    """The unit did not start. The message holds the last lines of its log."""


class MachinesRun(Exception):
    """Machines of this launcher run."""

    def __init__(self, machines: tuple[str, ...]) -> None:
        self.machines = machines
        super().__init__(
            f"{len(machines)} machines still run, in the slice whose filter keeps them from this host. End them "
            f"(systemctl stop {SLICE}), or wait until they have ended; then run this again."
        )


def missing_for_a_service(booted: Path = BOOTED) -> Iterator[str]:
    """Yield what this process or its host lacks for a systemd service."""
    if os.geteuid() != 0:
        yield "Only root can install a service: run this as root, or with --root DIR."
    if not booted.is_dir() or shutil.which(SYSTEMCTL) is None:
        yield "Process 1 of this host is not systemd: install with --root DIR, or start `launchyard launcher run`."


@dataclass(frozen=True, slots=True)
class Service:
    """The launcher's unit on this host."""

    seconds: float = SECONDS_OF_A_JOB

    def reload(self) -> None:
        """Have systemd read its units again. Raises ServiceFailed."""
        self._systemctl("daemon-reload")

    def start(self, anew: bool) -> None:
        """Start the unit now and at each boot, and wait until it is active; start it `anew` if it runs.

        Machines survive that. Raises ServiceFailed, NotActive.
        """
        self._systemctl("enable", UNIT)
        try:
            self._systemctl("restart" if anew else "start", UNIT)
            self._systemctl("is-active", "--quiet", UNIT)
        except ServiceFailed as failed:
            raise NotActive(f"{failed}\nThe last lines of its log:\n{self._log()}") from None

    def stop(self) -> None:
        """Stop the unit, now and at each boot, once its orders have ended or were left to the next launcher.

        Raises ServiceFailed; MachinesRun, if it has left some.
        """
        self._systemctl("disable", "--now", UNIT)
        listed = self._systemctl("list-units", "--plain", "--no-legend", MACHINES)
        if machines := tuple(line.split()[0] for line in listed.splitlines() if line.strip()):
            raise MachinesRun(machines)
        self._systemctl("stop", SLICE)

    def _systemctl(self, *arguments: str) -> str:
        return self._run(SYSTEMCTL, *arguments)

    def _log(self) -> str:
        try:
            return self._run(JOURNAL, "--unit", UNIT, "--lines", str(LINES), "--output", "cat", "--no-pager")
        except ServiceFailed as failed:
            return str(failed)

    def _run(self, *argv: str) -> str:
        """Run a program and return what it prints. Raises ServiceFailed."""
        command = " ".join(argv)
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=self.seconds, check=False)
        except subprocess.TimeoutExpired:
            raise ServiceFailed(f"`{command}` has not ended after {self.seconds:.0f} s.") from None
        except OSError as error:
            raise ServiceFailed(f"`{command}` cannot be run: {error.strerror}.") from None
        if done.returncode != 0:
            raise ServiceFailed(f"`{command}` failed with {done.returncode}. {done.stderr.strip()}".strip())
        return done.stdout
