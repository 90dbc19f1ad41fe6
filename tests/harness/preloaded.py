"""Starts servers of tests as forks of a process that has their libraries loaded: a start costs no imports.

Such a server is a process like any other: it has a session and a memory of its own. Nothing ran in that memory before
but imports.
"""

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Final

from emulators.processes import unproxied
from launcher.machines.private import make_folder, opener

PRELOADED: Final = (
    "tests.harness.functions",
    "tests.crash.launcher",
    # What these import only when they need it:
    "functions.adapters.firestore",
    "functions.adapters.firestore_feed",
    "functions.adapters.pubsub",
    "functions.adapters.records",
    "functions.adapters.s3",
    "functions.apis",
    "google.cloud.pubsub_v1",
    "launcher.daemon.pubsub",
)

_processes: Final = get_context("forkserver")
_processes.set_forkserver_preload([__name__, *PRELOADED])
_one_at_a_time: Final = threading.Lock()
"""multiprocessing looks at all of its processes when it starts one: two looks at one end would disturb each other."""


def start(module: str, options: Sequence[str], log: Path, environment: Mapping[str, str]) -> ForkServerProcess:
    """Start the `main` of a module as a server in its own session, with its output in `log`."""
    make_folder(log.parent)
    variables = {**os.environ, **unproxied(os.environ), **environment}
    process = _processes.Process(target=_serve, args=(module, options, log, variables), daemon=True)
    with _one_at_a_time:
        process.start()
    return process


def await_end(process: ForkServerProcess) -> int | None:
    """Wait for the end of a server; return its exit code, or the negative number of the signal that ended it."""
    wait([process.sentinel])
    with _one_at_a_time:
        process.join()
    return process.exitcode


def _serve(module: str, options: Sequence[str], log: Path, variables: Mapping[str, str]) -> None:
    os.setsid()
    with open(log, "ab", opener=opener) as out:
        for standard in (sys.stdout, sys.stderr):
            os.dup2(out.fileno(), standard.fileno())
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = [module, *options]
    import_module(module).main()
