"""Watches a machine's process on this host by its pidfd, and stops it step by step."""

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from launcher.machines.port import Patience
from launcher.providers.process.identity import end_stragglers, ended_within
from shared.log_events import LogEvent

TERM_SECONDS: Final = 10.0
"""How long a machine's process may take to end after SIGTERM: a worker takes 8 s at most."""
KILL_SECONDS: Final = 10.0
"""How long a killed process may stay before that is logged."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ShutdownStep:
    """One way to stop a machine. `ask` returns whether the request arrived; then the machine has `seconds` to end."""

    name: str
    ask: Callable[[], bool]
    seconds: float


class WatchedProcess:
    """A machine's process, whoever its parent is."""

    up: int | None = None
    grace_seconds = 0.0

    def __init__(self, pid: int, pidfd: int, uuid: str, steps: Sequence[ShutdownStep] = ()) -> None:
        self.pid, self._pidfd, self._uuid = pid, pidfd, uuid
        self._steps = (*steps, ShutdownStep("SIGTERM", self._terminate, TERM_SECONDS))

    def fileno(self) -> int:
        return self._pidfd

    def ended_within(self, seconds: float) -> bool:
        """Wait up to `seconds` for the end; return whether it came."""
        return ended_within(self._pidfd, seconds)

    def stop(self, patience: Patience) -> None:
        ended = False
        try:
            ended = self._ended_by_a_step(patience)
        finally:  # the last step is SIGKILL, whatever went wrong before
            if not ended:
                self.kill()
            while not self.ended_within(KILL_SECONDS):
                log.error(
                    LogEvent.MACHINE_NOT_DEAD,
                    message="The machine's process was killed but still exists.",
                    pid=self.pid,
                )

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def reap(self) -> int | None:
        """End the processes that the machine left behind, and close the descriptor."""
        end_stragglers(self._uuid)
        os.close(self._pidfd)
        return None

    def leave(self) -> None:
        os.close(self._pidfd)

    def destroy(self) -> int | None:
        """End it now, and return the exit code once it is gone."""
        try:
            self.stop(lambda: 0)
        finally:
            code = self.reap()
        return code

    def _ended_by_a_step(self, patience: Patience) -> bool:
        if self.ended_within(0):
            return True
        for step in self._steps:
            seconds = min(step.seconds, patience())
            if seconds > 0 and self._asked(step) and self.ended_within(seconds):
                log.info(
                    LogEvent.MACHINE_STOPPED,
                    message="The machine ended after it was asked to.",
                    pid=self.pid,
                    by=step.name,
                )
                return True
        return False

    def _asked(self, step: ShutdownStep) -> bool:
        try:
            return step.ask()
        except OSError as error:
            log.error(
                LogEvent.MACHINE_STOP_FAILED,
                message="The machine could not be asked to stop in this way; the next way is tried.",
                pid=self.pid,
                by=step.name,
                error=error.strerror,
            )
            return False

    def _terminate(self) -> bool:
        self._send(signal.SIGTERM)
        return True

    def _send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)


class AdoptedMachine(WatchedProcess):
    """A process that an earlier daemon started. Its exit code is unknown, because only its parent gets it."""


class ProcessMachine(WatchedProcess):
    """A child of this daemon. Until `reap`, no other process can get its id."""

    def __init__(
        self, process: subprocess.Popen[bytes], pidfd: int, uuid: str, steps: Sequence[ShutdownStep] = ()
    ) -> None:
        super().__init__(process.pid, pidfd, uuid, steps)
        self._process = process

    def reap(self) -> int:
        # The group first: while its leader is not reaped, no other group can get its number.
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        code = self._process.wait()
        super().reap()
        return code

    def leave(self) -> None:
        self._process.returncode = 0  # prevents Popen's warning about a process that still runs
        super().leave()
