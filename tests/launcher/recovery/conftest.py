"""An earlier daemon's machines: what a test leaves running is ended."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from launcher.providers.process.identity import end_stragglers
from launcher.providers.process.start import start_process
from tests.launcher.conftest import InProcessLauncher
from tests.launcher.recovery.left import Left, a_directory
from tests.launcher.stand_ins import STAYS


@pytest.fixture
def leave(launcher: InProcessLauncher) -> Iterator[Callable[..., Left]]:
    """Leave machines behind, each with a lease of this number of seconds from now; none outlives the test."""
    left: list[Left] = []

    def leave_one(argv: tuple[str, ...] = STAYS, seconds: float = 60) -> Left:
        vm = a_directory(launcher.state, argv, seconds)
        machine = start_process(vm, vm.serial_log)
        machine.leave()
        left.append(Left(vm, machine))
        return left[-1]

    yield leave_one
    for one in left:
        end_stragglers(one.directory.manifest.uuid)
        with suppress(ChildProcessError):
            os.waitpid(one.machine.pid, 0)
