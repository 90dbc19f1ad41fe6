"""Commands in processes that are forked from one, which has loaded their code: to load it takes most of a second.

The fork server (multiprocessing) starts with the first of them, and ends with the process that runs the tests. It has
no threads, and it has read no setting: each command has its own variables, working directory and streams.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import IO, Final

from emulators.ports import free_port
from emulators.processes import LOOPBACK, accepts
from emulators.processes import spawn as spawn_program
from launcher.machines.private import make_folder, opener
from launcher.machines.start_times import started_at
from tests.harness.waiting import await_value

LOADED: Final = (
    "functions_framework",
    "functions.apis",
    "functions.server",
    "launcher.cli.daemon",
    "emulators.fakes.compute.server",
    "emulators.fakes.fly.server",
    "emulators.fakes.trust_authority",
    "emulators.s3_backend",
    "emulators.s3_proxy",
    "emulators.scheduler",
    "emulators.source",
    # What these load only when they need it:
    "emulators.serving",
    "functions.adapters.firestore",
    "functions.adapters.firestore_feed",
    "functions.adapters.firestore_keys",
    "functions.adapters.pubsub",
    "functions.adapters.records",
    "functions.adapters.s3",
    "google.cloud.pubsub_v1",
    "launcher.daemon.pubsub",
    "launcher.providers.gcp.provider",
    "moto.moto_server.werkzeug_app",
    "moto.s3.urls",
)
SERVERS: Final = (
    "emulators.fakes.compute",
    "emulators.fakes.fly",
    "emulators.fakes.trust_authority",
    "emulators.s3",
    "emulators.s3_backend",
    "emulators.scheduler",
    "emulators.source",
    "functions.server",
    "launcher",
)
"""The modules of the local stack's servers."""
FORKS: Final = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__, *LOADED])
PART_BYTES: Final = 65_536
_environments: Final = dict[int, dict[str, str]]()
_ONE_AT_A_TIME: Final = threading.Lock()
"""To start one, multiprocessing looks at the ends of all: two looks at one end would disturb each other."""


class Forked(subprocess.Popen[str]):
    """`python -m module`, as subprocess.Popen would run it with pipes for its output and text in them."""

    def __init__(
        self, module: str, argv: Sequence[str], environment: Mapping[str, str], folder: Path, joined: bool = False
    ) -> None:
        """Start the command in `folder`, with these variables only. If `joined`, its errors are in its output."""
        self._child_created = False  # Popen itself has nothing to reap
        self._sigint_wait_secs = 0.0
        self.args, self.returncode, self.stdin, self.stderr = [module, *argv], None, None, None
        out, err = FORKS.Pipe(duplex=False), None if joined else FORKS.Pipe(duplex=False)
        ends = out[1], (err or out)[1]
        self._process, _ = _fork(_run, module, argv, dict(environment), folder, *ends)
        assert self._process.pid is not None
        self.pid = self._process.pid
        self.stdout = _file(*out)
        if err is not None:
            self.stderr = _file(*err)

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = _exit_code(self._process)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        wait([self._process.sentinel], timeout)
        if self.poll() is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[str, str]:  # noqa: A002 (Popen's name)
        """Return the rest of its output, and its errors, once it has ended. After `timeout` seconds it is killed."""
        assert input is None
        deadline = None if timeout is None else time.monotonic() + timeout
        texts = {file.fileno(): b"" for file in (self.stdout, self.stderr) if file is not None}
        unread = set(texts)
        while unread:
            ready = wait(list(unread), None if deadline is None else max(0.0, deadline - time.monotonic()))
            if not ready:  # it runs, or what it has started keeps its output open
                self.kill()
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            for file in unread.intersection(ready):
                part = os.read(file, PART_BYTES)
                texts[file] += part
                if not part:
                    unread.remove(file)
        self.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        output, errors, *_ = [*(text.decode() for text in texts.values()), ""]
        return output, errors

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended since
                os.kill(self.pid, sig)


@contextmanager
def forked_functions(
    log: Path, variables: Mapping[str, str], flags: Sequence[str] = (), port: int = 0
) -> Iterator[str]:
    """Serve the functions in a process of their own, with these variables only; yield their address.

    `flags` are those of `tests.harness.functions`. Port 0 is a free one.
    """
    port = port or free_port()
    process, _ = fork_server("tests.harness.functions", ("--port", str(port), *flags), log, variables, log.parent)
    try:
        await_value(lambda: accepts(port) or _exit_code(process) is not None, "the control plane")
        assert _exit_code(process) is None, log.read_text()
        yield f"http://{LOOPBACK}:{port}"
    finally:
        process.terminate()
        await_end(process)
        process.close()


def spawn(argv: Sequence[str], log: Path, environment: Mapping[str, str]) -> int:
    """Do what `emulators.processes.spawn` does, by a fork if the program is a server of the local stack."""
    python, option, module = [*argv, "", ""][:3]
    if (python, option) != (sys.executable, "-m") or module not in SERVERS:
        return spawn_program(argv, log, environment)
    process, _ = fork_server(module, argv[3:], log, environment, Path.cwd())
    assert process.pid is not None
    _environments[process.pid] = dict(environment)
    return process.pid


def environment_of(pid: int) -> dict[str, str]:
    """Return the variables that `spawn` gave a server that it forked. /proc shows the fork server's instead."""
    return dict(_environments[pid])


def fork_server(
    module: str, argv: Sequence[str], log: Path, variables: Mapping[str, str], folder: Path
) -> tuple[ForkServerProcess, int]:
    """Start `python -m module` in a session of its own, in `folder`, with these variables only, its output in `log`.

    Return it, and when it started, in clock ticks since boot: it may have ended by then. Its log exists from the start,
    as a program's does: who waits for an event reads it at once. Raises OSError.
    """
    make_folder(log.parent)
    open(log, "ab", opener=opener).close()
    return _fork(_serve, module, argv, dict(variables), log, folder)


def await_end(process: ForkServerProcess) -> int | None:
    """Wait for the end of a process; return its exit code, or the negative number of the signal that ended it."""
    wait([process.sentinel])
    return _exit_code(process)


def _exit_code(process: ForkServerProcess) -> int | None:
    with _ONE_AT_A_TIME:
        return process.exitcode


def _fork(target: Callable[..., None], *args: object) -> tuple[ForkServerProcess, int]:
    """Return a process that runs `target`, and when it started, in clock ticks since boot.

    From then on signals reach it: its session exists, if it leads one, and it no longer ignores SIGINT, as the fork
    server does.
    """
    ready, begun = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=target, args=(begun, *args), daemon=True)
    with _ONE_AT_A_TIME:
        process.start()
    with ready:
        begun.close()
        return process, ready.recv()


def _send_start(begun: Connection) -> None:
    with begun:
        begun.send(started_at(os.getpid()))


def _file(read: Connection, written: Connection) -> IO[str]:
    """Return a pipe's end for reading, as a file, and close both connections."""
    with read, written:
        return os.fdopen(os.dup(read.fileno()))


def _run(
    begun: Connection,
    module: str,
    argv: Sequence[str],
    variables: Mapping[str, str],
    folder: Path,
    out: Connection,
    err: Connection,
) -> None:
    _send_start(begun)
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    out.close()
    err.close()
    _become(module, argv, variables, folder)


def _serve(
    begun: Connection, module: str, argv: Sequence[str], variables: Mapping[str, str], log: Path, folder: Path
) -> None:
    os.setsid()
    _send_start(begun)
    with open(log, "ab", opener=opener) as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    _become(module, argv, variables, folder)


def _become(module: str, argv: Sequence[str], variables: Mapping[str, str], folder: Path) -> None:
    """Run a module as `python -m` would."""
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2:  # multiprocessing's own: what the module starts must not have them
            with suppress(OSError):  # it was the list's
                os.set_inheritable(descriptor, False)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 (it is open until the process ends)
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv[:] = [module, *argv]
    sys.modules.pop(module, None)  # runpy warns about a module that is loaded already
    runpy.run_module(module, run_name="__main__", alter_sys=True)
