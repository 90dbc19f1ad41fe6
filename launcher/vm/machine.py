"""A machine's process on this host: started in a session of its own, watched by pidfd, stopped step by step."""

import os
import select
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from launcher.vm.directory import VmDirectory, VmProcess
from launcher.vm.provider import LaunchFailed, Patience

TERM_SECONDS: Final = 5.0
GATE: Final = ("/bin/sh", "-c", 'read -r _ && exec "$@" </dev/null', "gate")
"""What becomes the machine's program once it is told that its process is on record. A daemon that dies before that
closes the gate's input, and the gate ends: no machine ever runs that nobody knows of."""
KILL_SECONDS: Final = 10.0
"""How long a killed process may stay before that is worth a line in the log."""
ENVIRONMENT: Final = {"PATH": os.defpath, "LANG": "C.UTF-8"}
"""All that a machine's process inherits: the launcher's own holds its key."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the ladder down. `ask` returns whether it was heard; then the machine has `seconds` to end."""

    name: str
    ask: Callable[[], bool]
    seconds: float


class ProcessMachine:
    """A child of ours. Until `reap`, its process id cannot be another's."""

    def __init__(self, process: subprocess.Popen[bytes], pidfd: int, gentle: Sequence[Rung] = ()) -> None:
        self._process, self._pidfd = process, pidfd
        self._rungs = (*gentle, Rung("SIGTERM", self._terminate, TERM_SECONDS))

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        return self._pidfd

    def ended_within(self, seconds: float) -> bool:
        """Wait up to `seconds` for the end; return whether it came."""
        ended = select.poll()
        ended.register(self._pidfd, select.POLLIN)
        return bool(ended.poll(max(seconds, 0) * 1000))

    def stop(self, patience: Patience) -> None:
        ended = False
        try:
            ended = self._ended_on_a_rung(patience)
        finally:  # whatever goes wrong on the ladder, its end is the ground
            if not ended:
                self.kill()
            while not self.ended_within(KILL_SECONDS):
                log.error("a killed machine is still there", pid=self.pid)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def reap(self) -> int:
        # The group first: while its leader is not reaped, the group's number cannot be given to another.
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        code = self._process.wait()
        os.close(self._pidfd)
        return code

    def destroy(self) -> int:
        """End it now, and return the exit code once it is gone."""
        try:
            self.stop(lambda: 0)
        finally:
            code = self.reap()
        return code

    def _ended_on_a_rung(self, patience: Patience) -> bool:
        if self.ended_within(0):
            return True
        for rung in self._rungs:
            seconds = min(rung.seconds, patience())
            if seconds > 0 and self._heard(rung) and self.ended_within(seconds):
                log.info("machine stopped", pid=self.pid, by=rung.name)
                return True
        return False

    def _heard(self, rung: Rung) -> bool:
        try:
            return rung.ask()
        except OSError as error:
            log.error("a machine cannot be asked to stop", pid=self.pid, by=rung.name, error=error.strerror)
            return False

    def _terminate(self) -> bool:
        self._send(signal.SIGTERM)
        return True

    def _send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)


def start_process(
    directory: VmDirectory, output: Path, gentle: Sequence[Rung] = (), cwd: Path | None = None
) -> ProcessMachine:
    """Start what the directory's manifest says, its process having been recorded there.

    Raises LaunchFailed, and then nothing runs.
    """
    gate = _gate(directory.manifest.argv, output, cwd)
    with ExitStack() as undo:
        undo.callback(gate.wait)
        undo.callback(_tell, gate, b"")
        try:
            pidfd = os.pidfd_open(gate.pid)
            undo.callback(os.close, pidfd)
            directory.record_process(VmProcess(pid=gate.pid, started=started_at(gate.pid)))
        except OSError as error:
            raise LaunchFailed(f"The machine's process cannot be recorded: {error.strerror}") from error
        _tell(gate, b"recorded\n")
        undo.pop_all()
    return ProcessMachine(gate, pidfd, gentle)


def _gate(argv: Sequence[str], output: Path, cwd: Path | None) -> subprocess.Popen[bytes]:
    """Start the gate before the machine's program; it waits to be told. Raises LaunchFailed."""
    program, *arguments = argv
    path = shutil.which(program)
    if path is None:
        raise LaunchFailed(f"{program} is not installed on this host.")
    try:
        with output.open("ab") as out:
            return subprocess.Popen(
                (*GATE, path, *arguments),
                cwd=cwd,
                env=ENVIRONMENT,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise LaunchFailed(f"{program} cannot be started: {error.strerror}") from error


def _tell(gate: subprocess.Popen[bytes], word: bytes) -> None:
    """Open the gate; or close it for good, with no word at all."""
    if gate.stdin is not None:
        with suppress(BrokenPipeError), gate.stdin as gate_input:
            gate_input.write(word)


def started_at(pid: int) -> int:
    """Return when a process started, in clock ticks since boot (proc(5)). Raises OSError where there is none.

    Ticks, not a time of day: those move when the host's clock is set, and a leftover would not be known again.
    """
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[19])
