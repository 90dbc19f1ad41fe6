"""Runs an agent's session by the launcher's executor (the contract of agent jobs, section 5).

The executor finds one JSON object on its standard input. Its standard output and error are the order's output,
interleaved, and appear in the worker's own output, which is the machine's log, as they come.

It runs in a process group of its own. If the worker is stopped, the group gets SIGTERM, and SIGKILL once the executor
has ended, after STOP_SECONDS at the latest.
"""

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import IO, Any, Final

from shared.domain.order import Reason
from shared.domain.spec import SessionSpec
from worker.programs import Job, ProgramFailed, Result, process_tree
from worker.programs.command import OUTPUT, environment_of, tail
from worker.programs.kept_output import KeptOutput
from worker.programs.project_directory import ProjectDirectory, opened

SCHEMA_VERSION: Final = "1.0"
SESSION_NAME: Final = "AGENT_SESSION_NAME"
STOP_SECONDS: Final = 5.0
"""How long an executor may take to end after SIGTERM."""
CHUNK: Final = 1 << 16

Take = Callable[[bytes], None]


def run(job: Job[SessionSpec]) -> Result:
    """Write `output.log`. Raises ProgramFailed if the executor cannot be started, or does not exit with 0."""
    if job.executor is None:
        raise _failed("The launcher names no program that runs sessions.", "Set LAUNCHYARD_EXECUTOR there.")
    file = job.folder / OUTPUT
    environment = {**environment_of(job), SESSION_NAME: job.spec.session_name}
    with (
        opened(job.spec.project_dir, job.executor, job.folder / "project") as project,
        tempfile.TemporaryFile(dir=job.folder) as request,  # not a pipe: an executor that reads nothing blocks nobody
        closing(KeptOutput(file)) as output,
    ):
        request.write(request_of(job.spec, project))
        request.seek(0)

        def take(data: bytes) -> None:
            output.write(data)
            _show(data)

        code = _run(job.executor.command, environment, request, project, take)
    if code != 0:
        raise _failed(f"The executor {_ended(code)}. Its last output:\n{tail(file)}")
    return Result(file, "text/plain")


def request_of(spec: SessionSpec, project: ProjectDirectory) -> bytes:
    """Return the JSON object that the executor reads. A resumed session has its agent and its directory already."""
    request: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "mode": "resume" if spec.resume else "start",
        "session_name": spec.session_name,
        "prompt": spec.prompt,
    }
    if not spec.resume:
        request |= {"project_dir": project.path} | ({"agent_name": spec.agent_name} if spec.agent_name else {})
    return json.dumps(request).encode()


def _run(
    command: Sequence[str], environment: Mapping[str, str], request: IO[bytes], project: ProjectDirectory, take: Take
) -> int:
    """Run the executor, and return its exit code. Raises ProgramFailed, SystemExit."""
    child: subprocess.Popen[bytes] | None = None
    try:
        with _stop_deferred():
            child = _started(command, environment, request, project)
        follow(child, take)
        return child.wait()
    except SystemExit:  # the worker is stopped
        if child is not None and child.returncode is None:
            _signal(child, signal.SIGTERM)
            follow(child, take, STOP_SECONDS)
        process_tree.kill_descendants()
        raise
    finally:
        if child is not None and child.stdout is not None:
            child.stdout.close()


@contextmanager
def _stop_deferred() -> Iterator[None]:
    """Let SIGTERM wait until the end of the block: only an executor that is known can be asked to end."""
    received: list[int] = []
    handler = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
        for number in received[:1]:
            signal.raise_signal(number)


def _started(
    command: Sequence[str], environment: Mapping[str, str], request: IO[bytes], project: ProjectDirectory
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            stdin=request,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=project.opened,
            env=environment,
            process_group=0,
        )
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        details = f"{command[0]} in {project.path}: {why}. LAUNCHYARD_EXECUTOR must name a program of this machine."
        raise _failed("The launcher's program that runs sessions cannot be started.", details) from error


def follow(child: subprocess.Popen[bytes], take: Take, seconds: float | None = None) -> None:
    """Take the executor's output until it has ended, or `seconds` are over, and kill what is left of its group.

    Then take what is still in the pipe, but wait for no one who has the pipe open, too.
    """
    if child.stdout is None:
        raise ValueError("The executor's output is not a pipe.")
    pipe, deadline = child.stdout.fileno(), None if seconds is None else time.monotonic() + seconds
    os.set_blocking(pipe, False)
    pidfd = os.pidfd_open(child.pid)
    try:
        events = select.poll()
        events.register(pipe, select.POLLIN)
        events.register(pidfd, select.POLLIN)
        while (left := _left_until(deadline)) is None or left > 0:
            ready = dict(events.poll(None if left is None else left * 1000))
            if pidfd in ready:
                break
            if pipe in ready and not _take_once(pipe, CHUNK, take):
                events.unregister(pipe)
    finally:
        os.close(pidfd)
    _signal(child, signal.SIGKILL)
    waiting = fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
    while waiting > 0 and (taken := _take_once(pipe, min(CHUNK, waiting), take)):
        waiting -= taken


def _left_until(deadline: float | None) -> float | None:
    return None if deadline is None else deadline - time.monotonic()


def _take_once(pipe: int, limit: int, take: Take) -> int:
    """Take up to `limit` bytes, and return how many: 0 if the pipe is empty or closed."""
    try:
        data = os.read(pipe, limit)
    except BlockingIOError:
        return 0
    if data:
        take(data)
    return len(data)


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to the executor's whole group. Its id is not another's: the executor is not reaped yet."""
    with suppress(ProcessLookupError, PermissionError):  # all have ended, or run as another user
        os.killpg(child.pid, number)


def _show(data: bytes) -> None:
    """Write the output into the machine's log. If that is gone, the session goes on."""
    with suppress(OSError):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _ended(code: int) -> str:
    return f"ended with exit code {code}" if code >= 0 else f"was ended by signal {-code}"


def _failed(message: str, details: str = "") -> ProgramFailed:
    return ProgramFailed(Reason.PROGRAM_FAILED, message, retryable=False, details=details)
