"""Machines that are processes of this host, whichever provider started them, in this daemon or an earlier one."""

import os
import threading
from collections.abc import Callable, Collection
from typing import Final

from launcher.machines.directory import VmDirectory
from launcher.providers.process.identity import Trace, trace
from launcher.providers.process.ladder import gentle_rungs
from launcher.providers.process.supervise import AdoptedMachine
from shared.wire.launchers import Hold

QEMU: Final = "qemu"
PROCESS: Final = "process"


class LocalMachines:
    """What their providers have in common: a machine is known by its directory alone."""

    __slots__ = ()

    def trace(self, directory: VmDirectory) -> Trace:
        return trace(directory)

    def adopt(self, directory: VmDirectory) -> AdoptedMachine | None:
        recorded = directory.process()
        if recorded is None:
            return None
        try:
            pidfd = os.pidfd_open(recorded.pid)
        except ProcessLookupError:
            return None
        if trace(directory) is not Trace.RUNS:  # asked again: only now is the descriptor certain to be the machine's
            os.close(pidfd)
            return None
        gentle = gentle_rungs(directory) if directory.manifest.provider == QEMU else ()
        return AdoptedMachine(recorded.pid, pidfd, directory.manifest.uuid, gentle)

    def keep_clear(self, held: Callable[[], Collection[Hold]], until: threading.Event) -> None:
        """Leave all alone: every process of a machine is on record before the machine runs."""
