"""The operator's machines: starts them, finds them by their directories, measures them, and ends them."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from uuid import uuid4

import structlog

from launcher.machines import directory, inventory
from launcher.machines.directory import VmDirectory
from launcher.machines.port import MachineState
from launcher.machines.records import OPERATORS, VmLease, VmManifest
from launcher.machines.resources import Size
from launcher.providers.process.identity import end_stragglers, state_of
from launcher.providers.qemu.provider import QemuMachines, QemuProvider, takes
from launcher.vm_tool import console
from shared.guest.config import StandaloneConfig, StandaloneProgram
from shared.guest.image import verify
from shared.log_events import LogEvent

NO_LEASE: Final = VmLease(ends=0, seconds=0)
"""An operator's machine runs until it is deleted. Daemons ignore its directory."""
NO_EPOCH: Final = 0
PATIENCE_SECONDS: Final = 10.0
"""How long each step of a stop may take."""

log = structlog.get_logger()


class NoSuchMachine(Exception):
    """There is no machine of this name here."""


class RootNotMeasured(Exception):
    """The registers would say nothing of the root file system: another root would have the same."""


class MachineUnclear(Exception):
    """The process that runs is not certainly the machine's; it was left alone."""


def new_name() -> str:
    return f"{OPERATORS}{uuid4()}"


def start(state: Path, provider: QemuProvider, size: Size, config: StandaloneConfig) -> VmDirectory:
    """Start a machine that outlives this command. Raises ImageRejected, LaunchFailed, OSError: then nothing is left."""
    uuid = config.vm.removeprefix(OPERATORS)
    plan = provider.plan_guest(uuid, size, config.canonical())
    manifest = VmManifest(
        order_id=uuid,
        epoch=NO_EPOCH,
        vm=config.vm,
        uuid=uuid,
        provider=provider.name,
        mode=plan.mode,
        image_digest=plan.image_digest,
        argv=plan.argv,
        resources=takes(size, provider.mode, provider.directory_mib),
    )
    with removed_on_failure(state, config.vm):
        made = directory.create(state, manifest, config.canonical(), NO_LEASE)
        provider.start(made).leave()
    return made


def measure(state: Path, provider: QemuProvider, size: Size, seconds: float) -> dict[str, str]:
    """Return the registers by name, in hex: MRTD measures the firmware, RTMR0 depends on memory and processors.

    Raises ImageRejected, RootNotMeasured, LaunchFailed, ConsoleSilent, MachineUnclear, OSError.
    """
    if verify(provider.image, provider.digest).root_hash is None:
        raise RootNotMeasured(
            f"The command line of the image {provider.image} has no hash of its root: its registers would be the same "
            "with any root. Build the image anew (make guest-image)."
        )
    config = StandaloneConfig(program=StandaloneProgram.MEASURE, vm=new_name())
    with removed_on_failure(state, config.vm):
        made = start(state, provider, size, config)
        registers = console.await_registers(made, seconds)
        end(made)
    return registers


@contextmanager
def removed_on_failure(state: Path, name: str) -> Iterator[None]:
    """Remove the machine of this name if the block ends with an error or a signal: its name was not printed yet.

    If it cannot be removed, its name is logged.
    """
    try:
        yield
    except BaseException:
        gone = False
        try:
            _end_if_there(state, name)
            gone = True
        finally:
            if not gone:
                log.error(
                    LogEvent.MACHINE_MAY_RUN,
                    message="The machine may still run: end it with `launchyard vm delete`.",
                    vm=name,
                )
        raise


def known(state: Path) -> Iterator[VmDirectory]:
    """Yield the machines, running or not.

    Machines that another command is making or removing are left out. So are those whose record cannot be read, which
    is logged, and machines of orders, if the folder is a launcher's. Raises OSError if they cannot be listed.
    """
    for path in inventory.listed(state):
        try:
            one = directory.read(path)
        except (OSError, ValueError) as error:
            log.warning(
                LogEvent.DIRECTORY_UNREADABLE,
                message="The machine's directory cannot be read.",
                path=str(path),
                error=type(error).__name__,
            )
            continue
        if one.manifest.is_operators:
            yield one


def find(state: Path, name: str) -> VmDirectory:
    """Return the machine of this name. Raises NoSuchMachine, OSError."""
    for one in known(state):
        if one.manifest.vm == name:
            return one
    raise NoSuchMachine(f"There is no machine {name} in {state}.")


def _end_if_there(state: Path, name: str) -> None:
    with suppress(NoSuchMachine):
        end(find(state, name))


def end(machine_directory: VmDirectory) -> None:
    """Stop the machine and remove its directory. Raises MachineUnclear, OSError."""
    if state_of(machine_directory) is MachineState.UNEXPLAINED:
        name, path = machine_directory.manifest.vm, machine_directory.path
        raise MachineUnclear(f"{name}: the process on record in {path} does not name the machine; end it by hand.")
    machine = QemuMachines().adopt(machine_directory)
    if machine is not None:
        machine.stop(lambda: PATIENCE_SECONDS)
        machine.reap()
    end_stragglers(machine_directory.manifest.uuid)
    machine_directory.remove()
