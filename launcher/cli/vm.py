"""`launchyard vm`: starts, shows and deletes an operator's own machines on this host, by name."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

import typer
from pydantic import ValidationError

from launcher.cli.secret_flags import warn_of_secrets
from launcher.daemon import logs
from launcher.host.hypervisor import QemuMode
from launcher.host.probe import ModeRefused, TrialImpossible, probe
from launcher.machines.directory import VmDirectory
from launcher.machines.port import LaunchFailed
from launcher.vm_tool import agents, console, facts, machines
from launcher.vm_tool.settings import ToolSettings, mib, provider_of, size_of
from shared.domain.spec import NodeSize
from shared.exit_codes import FAILED, USAGE
from shared.guest.config import StandaloneConfig, StandaloneProgram
from shared.guest.image import ImageRejected
from shared.settings import SettingsWrong, read

CONTRACTS_URL: Final = "https://app.easyenclave.com"
USER_NETWORK: Final = "user"
REFUSALS: Final = (
    *(ImageRejected, LaunchFailed, ModeRefused, TrialImpossible),
    *(
        agents.AgentsFailed,
        console.ConsoleSilent,
        machines.MachineUnclear,
        machines.NoSuchMachine,
        machines.RootNotMeasured,
    ),
    *(OSError, SettingsWrong, ValidationError),
)

app = typer.Typer(help="An operator's own machines on this host.", no_args_is_help=True)

StateDir = Annotated[str | None, typer.Option(help="The directory of the machines. [LAUNCHYARD_VM_STATE_DIR]")]
Image = Annotated[str | None, typer.Option("-i", "--image", help="The guest image's directory. [LAUNCHYARD_IMAGE]")]
Url = Annotated[str | None, typer.Option(help="The control plane. [EASYENCLAVE_CP_URL]")]
SizeName = Annotated[NodeSize | None, typer.Option(help="The node size. [EASYENCLAVE_DEFAULT_SIZE, tiny]")]
Memory = Annotated[
    int | None,
    typer.Option(parser=mib, metavar="GIB", help="The memory, instead of the size's: 4 is 4 GiB, 256M is 256 MiB."),
]
Vcpus = Annotated[int | None, typer.Option(min=1, help="The virtual CPUs, instead of the size's.")]
Disk = Annotated[
    int | None, typer.Option(parser=mib, metavar="GIB", help="The data disk, instead of the size's: 80, or 512M.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def new(
    image: Image = None,
    easyenclave_url: Url = None,
    intel_api_key: Annotated[str | None, typer.Option(help="Deprecated: accepted and ignored.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the guest is up, for 120 s at most.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show its serial console on stderr.")] = False,
    cloud_provider: Annotated[str, typer.Option()] = "baremetal",
    availability_zone: Annotated[str | None, typer.Option()] = None,
    region: Annotated[str | None, typer.Option()] = None,
    datacenter: Annotated[str | None, typer.Option(help="<cloud>:<zone>, instead of the three above.")] = None,
    size: SizeName = None,
    memory: Memory = None,
    vcpus: Vcpus = None,
    disk: Disk = None,
    bootstrap_order_id: Annotated[str | None, typer.Option()] = None,
    bootstrap_token: Annotated[str | None, typer.Option(help="Deprecated: accepted and ignored.")] = None,
    state_dir: StateDir = None,
) -> None:
    """Start a machine that idles until it is deleted, and print exactly one JSON object.

    The key and the token are not passed on: the host's operator can read every configuration. If the wait fails, the
    machine is ended.
    """
    warn_of_secrets({"--intel-api-key": intel_api_key, "--bootstrap-token": bootstrap_token})
    if intel_api_key or bootstrap_token:
        typer.echo("The key and the token are not passed to the machine: its configuration holds no secret.", err=True)
    if datacenter == "":
        raise typer.BadParameter("it is empty: give a value, or leave the option out", param_hint="--datacenter")
    settings = _settings(image=image, easyenclave_url=easyenclave_url, vm_state_dir=state_dir)
    config = StandaloneConfig(
        program=StandaloneProgram.IDLE,
        vm=machines.new_name(),
        control_plane=settings.easyenclave_url or CONTRACTS_URL,
        datacenter=datacenter or f"{cloud_provider}:{availability_zone or region or 'default'}",
        node_size=size or settings.default_size,
        bootstrap_order_id=bootstrap_order_id,
    )
    with _failures_reported():
        of_size = size_of(settings, size, memory, vcpus, disk)
        provider = provider_of(settings, probe(settings.qemu_mode, settings.hypervisor))
        with machines.removed_on_failure(settings.vm_state_dir, config.vm):
            made = machines.start(settings.vm_state_dir, provider, of_size, config)
            answer = facts.described(made)
            if wait:
                answer |= {"ip": _awaited(made, debug), "network": USER_NETWORK}
            typer.echo(json.dumps(answer, indent=2))


@app.command("list")
def list_machines(as_json: AsJson = False, state_dir: StateDir = None) -> None:
    """Print the names of all machines, running or not, one a line."""
    settings = _settings(vm_state_dir=state_dir)
    with _failures_reported():
        known = list(machines.known(settings.vm_state_dir))
        states = [{"name": one.manifest.vm, "uuid": one.manifest.uuid, "state": facts.state_word(one)} for one in known]
    if as_json:
        typer.echo(json.dumps(states, indent=2))
        return
    for state in states:
        typer.echo(state["name"])


@app.command()
def status(name: str, state_dir: StateDir = None) -> None:
    """Print a machine's state as one JSON object with the keys of libvirt's dominfo."""
    settings = _settings(vm_state_dir=state_dir)
    with _failures_reported():
        state = facts.keyed(facts.dominfo(machines.find(settings.vm_state_dir, name)))
    typer.echo(json.dumps(state, indent=2))


@app.command()
def delete(
    name: Annotated[str, typer.Argument(help="A machine's name, or `all`.")],
    easyenclave_url: Url = None,
    admin_token: Annotated[
        str | None,
        typer.Option(help="Deprecated: every user of the host can read a command line. Set ADMIN_TOKEN."),
    ] = None,
    state_dir: StateDir = None,
) -> None:
    """Stop a machine and remove its directory.

    With a control plane and its admin's token (ADMIN_TOKEN), also delete the record of its agent.
    """
    warn_of_secrets({"--admin-token": admin_token})
    settings = _settings(easyenclave_url=easyenclave_url, admin_token=admin_token, vm_state_dir=state_dir)
    with _failures_reported():
        state = settings.vm_state_dir
        named = list(machines.known(state)) if name == "all" else [machines.find(state, name)]
    failed = [one for one in named if not _deleted(one, settings)]
    if failed:
        raise typer.Exit(FAILED)


@app.command()
def measure(
    image: Image = None,
    timeout: Annotated[float, typer.Option(help="How many seconds to wait.")] = 180,
    as_json: AsJson = False,
    size: SizeName = None,
    memory: Memory = None,
    vcpus: Vcpus = None,
    disk: Disk = None,
    state_dir: StateDir = None,
) -> None:
    """Start a trust domain that measures itself, and print its MRTD, or with --json all its registers.

    It needs a TDX host, and a guest whose kernel shows its registers: Linux 6.16 or later.
    """
    settings = _settings(image=image, vm_state_dir=state_dir)
    with _failures_reported():
        of_size = size_of(settings, size, memory, vcpus, disk)
        registers = machines.measure(settings.vm_state_dir, provider_of(settings, QemuMode.TDX), of_size, timeout)
    typer.echo(json.dumps(registers, indent=2) if as_json else registers["mrtd"])


def _settings(**flags: Any) -> ToolSettings:
    logs.configure(sys.stderr)
    try:
        return read(ToolSettings, {field: value for field, value in flags.items() if value is not None})
    except SettingsWrong as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(USAGE) from None


def _deleted(one: VmDirectory, settings: ToolSettings) -> bool:
    """Delete one machine, and return whether that worked. After a failure, the command goes on with the others."""
    try:
        machines.end(one)
        typer.echo(f"deleted {one.manifest.vm}")
        if settings.easyenclave_url and settings.admin_token:
            token = settings.admin_token.get_secret_value()
            records = agents.delete(settings.easyenclave_url, token, one.manifest.vm)
            typer.echo(f"deleted {records} agent records of {one.manifest.vm}")
    except REFUSALS as error:
        typer.echo(str(error), err=True)
        return False
    return True


def _awaited(made: VmDirectory, debug: bool) -> str:
    """Return the machine's address once it is up. Raises ConsoleSilent."""
    try:
        return console.await_sign(made)
    finally:
        if debug:
            typer.echo(console.read(made), err=True)


@contextmanager
def _failures_reported() -> Iterator[None]:
    """Print what went wrong, and exit with 1."""
    try:
        yield
    except REFUSALS as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from None
