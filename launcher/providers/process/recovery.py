"""Finds machines again that are processes of this host, in this daemon or a later one."""

import os
import threading
from collections.abc import Callable, Collection, Sequence

from launcher.machines.directory import VmDirectory
from launcher.machines.port import MachineState
from launcher.providers.process.identity import state_of
from launcher.providers.process.supervise import AdoptedMachine, ShutdownStep
from shared.wire.launchers import Hold


class LocalMachines:
    """The recoverer for machines of this host: finds a machine by its directory."""

    __slots__ = ()

    def state_of(self, directory: VmDirectory) -> MachineState:
        return state_of(directory)

    def adopt(self, directory: VmDirectory) -> AdoptedMachine | None:
        recorded = directory.process()
        if recorded is None:
            return None
        try:
            pidfd = os.pidfd_open(recorded.pid)
        except ProcessLookupError:
            return None
        if state_of(directory) is not MachineState.RUNS:  # again: only now is it certainly the machine's
            os.close(pidfd)
            return None
        return AdoptedMachine(recorded.pid, pidfd, directory.manifest.uuid, self.shutdown_steps(directory))

    def shutdown_steps(self, _directory: VmDirectory) -> Sequence[ShutdownStep]:
        """Return the steps before SIGTERM."""
        return ()

    def delete_strays(self, held: Callable[[], Collection[Hold]], until: threading.Event) -> None:
        """Do nothing: every process of a machine was recorded before the machine ran."""
