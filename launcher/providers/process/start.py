"""Starts a machine's process: in a session of its own, marked as the machine's, and recorded before it runs."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from launcher.host.confinement import Confinement
from launcher.host.confinement import command as confinement_command
from launcher.machines import bounded_log
from launcher.machines.directory import MAX_LOG_MIB, MIB, VmDirectory
from launcher.machines.failures import of_host
from launcher.machines.port import LaunchFailed
from launcher.machines.private import opener
from launcher.machines.records import VmManifest, VmProcess
from launcher.machines.start_times import started_at
from launcher.providers.process.identity import MARK
from launcher.providers.process.supervise import ProcessMachine, ShutdownStep
from shared.crash_points import Point, reach
from shared.domain.order import Reason

GATE: Final = ("/bin/sh", "-c", 'read -r _ && exec "$@" </dev/null', "gate")
"""A shell that becomes the machine's program once it reads that its process was recorded. If the daemon dies before
that, the shell's input is closed and it ends, so no machine runs unrecorded.
"""
SCOPE: Final = ("systemd-run", "--scope", "--quiet", "--collect")
"""Moves itself into a transient unit of its own and then becomes the program (systemd-run(1)). So the recorded process
is the machine's, and systemd does not end it with its launcher's control group."""


def environment(uuid: str) -> dict[str, str]:
    """Return the whole environment of a machine's process. It does not inherit the launcher's, which has its key."""
    return {"PATH": os.defpath, "LANG": "C.UTF-8", MARK: uuid}


def start_process(
    directory: VmDirectory,
    output: Path,
    steps: Sequence[ShutdownStep] = (),
    cwd: Path | None = None,
    variables: Mapping[str, str] | None = None,
    unit_slice: str | None = None,
    console: Path | None = None,
    confinement: Confinement | None = None,
) -> ProcessMachine:
    """Start the program in the directory's manifest, after recording its process there; in a systemd slice, if named.

    Its output, and what it writes to the descriptor bounded_log.CONSOLE, go to logs that never grow beyond MAX_LOG_MIB.
    Raises LaunchFailed, and then nothing runs. If the program cannot be confined as asked, its process ends with 1.
    """
    gate = _gate(directory.manifest, output, console, cwd, variables or {}, unit_slice, confinement)
    with ExitStack() as undo:
        undo.callback(gate.wait)
        undo.callback(_write, gate, b"")
        try:
            pidfd = os.pidfd_open(gate.pid)
            undo.callback(os.close, pidfd)
            directory.record_process(VmProcess(pid=gate.pid, started=started_at(gate.pid)))
        except OSError as error:
            raise of_host(error, "The machine's process cannot be recorded") from error
        reach(Point.LAUNCHER_RECORDED)
        _write(gate, b"recorded\n")
        undo.pop_all()
    return ProcessMachine(gate, pidfd, directory.manifest.uuid, steps)


def _gate(
    manifest: VmManifest,
    output: Path,
    console: Path | None,
    cwd: Path | None,
    variables: Mapping[str, str],
    unit_slice: str | None,
    confinement: Confinement | None,
) -> subprocess.Popen[bytes]:
    """Start the gate (GATE), which waits for a word before it becomes the program. Raises LaunchFailed."""
    program, *arguments = manifest.argv
    confined = (_installed(program), *arguments)
    if confinement is not None:
        confined = confinement_command(confinement, confined)
    logged = bounded_log.command(confined, MAX_LOG_MIB * MIB, output, console)
    command = (*_scope(manifest.uuid, unit_slice), *logged)
    try:
        with open(output, "ab", opener=opener) as out:
            return subprocess.Popen(
                (*GATE, *command),
                cwd=cwd,
                env={**environment(manifest.uuid), **variables},
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise of_host(error, f"{program} cannot be started") from error


def _scope(uuid: str, unit_slice: str | None) -> tuple[str, ...]:
    """Return the argv prefix that puts a machine into its own unit; empty if no slice is named. Raises LaunchFailed."""
    if unit_slice is None:
        return ()
    program, *options = SCOPE
    return (_installed(program), *options, f"--slice={unit_slice}", f"--unit=launchyard-vm-{uuid}", "--")


def _installed(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise LaunchFailed(f"{program} is not installed on this host.", Reason.HYPERVISOR_MISSING)
    return str(Path(path).absolute())  # a PATH may have relative folders, and the machine starts in its own directory


def _write(gate: subprocess.Popen[bytes], word: bytes) -> None:
    """Send the gate a word, or, if it is empty, close the gate's input, which ends it."""
    if gate.stdin is not None:
        with suppress(BrokenPipeError), gate.stdin as gate_input:
            gate_input.write(word)
