"""Starting a machine's process: in a session of its own, marked as the machine's, and on record before it runs."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from launcher.machines import bounded_log
from launcher.machines.directory import LOG_MIB, MIB, VmDirectory
from launcher.machines.failures import of_host
from launcher.machines.port import LaunchFailed
from launcher.machines.records import VmManifest, VmProcess
from launcher.providers.process.identity import MARK, started_at
from launcher.providers.process.supervise import ProcessMachine, ShutdownStep
from shared.crash_points import Point, reach
from shared.domain.order import Reason

GATE: Final = ("/bin/sh", "-c", 'read -r _ && exec "$@" </dev/null', "gate")
"""What becomes the machine's program once it is told that its process is on record. A daemon that dies before that
closes the gate's input, and the gate ends: no machine ever runs that nobody knows of."""
SCOPE: Final = ("systemd-run", "--scope", "--quiet", "--collect")
"""Moves itself into a transient unit of its own and then becomes the program (systemd-run(1)): the process on record
stays the machine's, and its control group is not its launcher's, with which systemd would end it."""


def environment(uuid: str) -> dict[str, str]:
    """Return all that a machine's process inherits: the launcher's own environment holds its key."""
    return {"PATH": os.defpath, "LANG": "C.UTF-8", MARK: uuid}


def start_process(
    directory: VmDirectory,
    output: Path,
    steps: Sequence[ShutdownStep] = (),
    cwd: Path | None = None,
    variables: Mapping[str, str] | None = None,
    unit_slice: str | None = None,
    console: Path | None = None,
) -> ProcessMachine:
    """Start what the directory's manifest says, its process having been recorded there; in a systemd slice, if named.

    Its output, and what it writes to the descriptor bounded_log.CONSOLE, go to logs that never grow beyond LOG_MIB.
    Raises LaunchFailed, and then nothing runs.
    """
    gate = _gate(directory.manifest, output, console, cwd, variables or {}, unit_slice)
    with ExitStack() as undo:
        undo.callback(gate.wait)
        undo.callback(_tell, gate, b"")
        try:
            pidfd = os.pidfd_open(gate.pid)
            undo.callback(os.close, pidfd)
            directory.record_process(VmProcess(pid=gate.pid, started=started_at(gate.pid)))
        except OSError as error:
            raise of_host(error, "The machine's process cannot be recorded") from error
        reach(Point.LAUNCHER_RECORDED)
        _tell(gate, b"recorded\n")
        undo.pop_all()
    return ProcessMachine(gate, pidfd, directory.manifest.uuid, steps)


def _gate(
    manifest: VmManifest,
    output: Path,
    console: Path | None,
    cwd: Path | None,
    variables: Mapping[str, str],
    unit_slice: str | None,
) -> subprocess.Popen[bytes]:
    """Start the gate before the machine's program; it waits to be told. Raises LaunchFailed."""
    program, *arguments = manifest.argv
    logged = bounded_log.command((_installed(program), *arguments), LOG_MIB * MIB, output, console)
    command = (*_scope(manifest.uuid, unit_slice), *logged)
    try:
        with output.open("ab") as out:
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
    """Return what puts a machine into a unit of its own; nothing where no slice is named. Raises LaunchFailed."""
    if unit_slice is None:
        return ()
    program, *options = SCOPE
    return (_installed(program), *options, f"--slice={unit_slice}", f"--unit=launchyard-vm-{uuid}", "--")


def _installed(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise LaunchFailed(f"{program} is not installed on this host.", Reason.HYPERVISOR_MISSING)
    return str(Path(path).absolute())  # a PATH may have relative folders, and the machine starts in its own directory


def _tell(gate: subprocess.Popen[bytes], word: bytes) -> None:
    """Open the gate; or close it for good, with no word at all."""
    if gate.stdin is not None:
        with suppress(BrokenPipeError), gate.stdin as gate_input:
            gate_input.write(word)
