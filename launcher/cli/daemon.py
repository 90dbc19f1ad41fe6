"""`launchyard launcher run`: starts the launcher. Each flag is a setting, and wins over the environment."""

import sys
from typing import Annotated

import typer

from launcher.cli import doctor, install
from launcher.cli.secret_flags import warn_of_secrets
from launcher.composition.launcher import serve
from launcher.composition.providers import CloudRefused
from launcher.daemon.state_directory import CannotRunNow, StateUnusable
from launcher.host.probe import ModeRefused, TrialImpossible
from launcher.settings import read
from shared.exit_codes import FAILED, USAGE
from shared.lines import Lines
from shared.settings import SettingsWrong

app = typer.Typer(help="The launcher daemon.", no_args_is_help=True)

Flag = str | None
Url = Annotated[
    Flag, typer.Option("--url", "--cp-url", help="The control plane's base URL. (env LAUNCHYARD_URL, CP_URL)")
]
LauncherKey = Annotated[
    Flag,
    typer.Option(
        "--launcher-api-key",
        help="Deprecated: every user of the host can read a command line. Set the launcher's key in the variable. "
        "(env LAUNCHYARD_LAUNCHER_KEY, LAUNCHER_API_KEY)",
    ),
]
IntelApiKey = Annotated[
    Flag,
    typer.Option(help="Deprecated: accepted and ignored. (env LAUNCHYARD_INTEL_API_KEY, INTEL_API_KEY, ITA_API_KEY)"),
]
LauncherName = Annotated[
    Flag, typer.Option("--name", help="This launcher's name. (env LAUNCHYARD_LAUNCHER_NAME; default: the host's)")
]
ProviderNames = Annotated[
    Flag,
    typer.Option(
        help="baremetal, gcp, fly, or several with commas: exports and tasks run on the first that can. "
        "(env LAUNCHYARD_PROVIDERS, LAUNCHER_PROVIDERS; default: baremetal)"
    ),
]
Datacenter = Annotated[
    Flag,
    typer.Option(
        help="Capacity of this datacenter only, such as gcp:us-central1-a. "
        "(env LAUNCHYARD_DATACENTER, LAUNCHER_DATACENTER; default: any of the providers')"
    ),
]
NodeSize = Annotated[
    Flag,
    typer.Option(
        help="Capacity of this size only, and no exports or tasks: tiny, standard or llm. "
        "(env LAUNCHYARD_NODE_SIZE, LAUNCHER_NODE_SIZE; default: any)"
    ),
]
PollSeconds = Annotated[
    Flag,
    typer.Option(
        help="Seconds between two claims that brought nothing, at least 2. (env LAUNCHYARD_POLL_SECONDS, "
        "LAUNCHER_POLL_SECONDS; default: up to 1, because a claim itself waits 5)"
    ),
]
OneShot = Annotated[
    bool, typer.Option("--one-shot", help="Take one capacity order, leave its machine running, and exit.")
]
MaxOrders = Annotated[
    Flag,
    typer.Option(
        help="Take this many capacity orders, including failed ones, leave their machines running, and exit. "
        "(env LAUNCHYARD_MAX_ORDERS, LAUNCHER_MAX_ORDERS; default: 0, no limit)"
    ),
]
ProviderOption = Annotated[
    Flag,
    typer.Option(help="How this host makes machines: qemu or process. (env LAUNCHYARD_PROVIDER; default: qemu)"),
]
QemuMode = Annotated[
    Flag,
    typer.Option(help="How QEMU runs machines: auto, tcg, kvm or tdx. (env LAUNCHYARD_QEMU_MODE; default: auto)"),
]
Slots = Annotated[Flag, typer.Option(help="How many machines run at once. (env LAUNCHYARD_SLOTS; default: 2)")]
StateDir = Annotated[
    Flag,
    typer.Option(help="The directory of the machines. (env LAUNCHYARD_STATE_DIR; default: /var/lib/launchyard)"),
]
Image = Annotated[Flag, typer.Option(help="The guest image's directory. (env LAUNCHYARD_IMAGE)")]
ImageDigest = Annotated[
    Flag, typer.Option(help="The guest image's digest: 64 hexadecimal digits. (env LAUNCHYARD_IMAGE_DIGEST)")
]
Subscription = Annotated[
    Flag,
    typer.Option(help="projects/P/subscriptions/S; without it, orders are polled. (env LAUNCHYARD_SUBSCRIPTION)"),
]
NamePrefix = Annotated[
    Flag,
    typer.Option(
        help="The prefix of instances' names. "
        "(env LAUNCHYARD_NAME_PREFIX, LAUNCHER_NAME_PREFIX; default: easyenclave-agent)"
    ),
]
GcpProject = Annotated[
    Flag,
    typer.Option(help="The project of instances; gcp needs it. (env LAUNCHYARD_GCP_PROJECT, LAUNCHER_GCP_PROJECT)"),
]
GcpZones = Annotated[
    Flag,
    typer.Option(
        help="Zones to try after the order's own, with commas. (env LAUNCHYARD_GCP_ZONES, LAUNCHER_GCP_ZONES)"
    ),
]
GcpImage = Annotated[
    Flag,
    typer.Option(
        help="The image of instances: a link to it, or PROJECT/FAMILY. (env LAUNCHYARD_GCP_IMAGE, "
        "LAUNCHER_GCP_IMAGE; default: ubuntu-os-cloud/ubuntu-2404-lts-amd64)"
    ),
]
GcpMachineTypeDefault = Annotated[
    Flag,
    typer.Option(
        help="The machine type of instances. "
        "(env LAUNCHYARD_GCP_MACHINE_TYPE_DEFAULT, LAUNCHER_GCP_MACHINE_TYPE_DEFAULT; default: c3-standard-4)"
    ),
]
GcpMachineTypeTiny = Annotated[
    Flag,
    typer.Option(
        help="For size tiny. (env LAUNCHYARD_GCP_MACHINE_TYPE_TINY, LAUNCHER_GCP_MACHINE_TYPE_TINY; else the default)"
    ),
]
GcpMachineTypeStandard = Annotated[
    Flag,
    typer.Option(
        help="For size standard. "
        "(env LAUNCHYARD_GCP_MACHINE_TYPE_STANDARD, LAUNCHER_GCP_MACHINE_TYPE_STANDARD; else the default)"
    ),
]
GcpMachineTypeLlm = Annotated[
    Flag,
    typer.Option(
        help="For size llm. (env LAUNCHYARD_GCP_MACHINE_TYPE_LLM, LAUNCHER_GCP_MACHINE_TYPE_LLM; else the default)"
    ),
]

app.command()(doctor.doctor)
app.command()(install.install)
app.command()(install.uninstall)


@app.callback()
def launcher() -> None:
    """The launcher daemon: takes orders from the queue and runs their machines."""


@app.command(epilog="Exit codes: 0 done, 1 an error, 2 wrong settings or usage, 130 interrupted.")
def run(
    url: Url = None,
    launcher_key: LauncherKey = None,
    intel_api_key: IntelApiKey = None,
    launcher_name: LauncherName = None,
    providers: ProviderNames = None,
    datacenter: Datacenter = None,
    node_size: NodeSize = None,
    poll_seconds: PollSeconds = None,
    one_shot: OneShot = False,
    max_orders: MaxOrders = None,
    provider: ProviderOption = None,
    qemu_mode: QemuMode = None,
    slots: Slots = None,
    state_dir: StateDir = None,
    image: Image = None,
    image_digest: ImageDigest = None,
    subscription: Subscription = None,
    name_prefix: NamePrefix = None,
    gcp_project: GcpProject = None,
    gcp_zones: GcpZones = None,
    gcp_image: GcpImage = None,
    gcp_machine_type_default: GcpMachineTypeDefault = None,
    gcp_machine_type_tiny: GcpMachineTypeTiny = None,
    gcp_machine_type_standard: GcpMachineTypeStandard = None,
    gcp_machine_type_llm: GcpMachineTypeLlm = None,
) -> None:
    """Take orders and run their machines, until SIGTERM or the limit of orders."""
    flags = {field: value for field, value in locals().items() if value not in (None, False)}
    warn_of_secrets({"--launcher-api-key": launcher_key, "--intel-api-key": intel_api_key})
    try:
        code = serve(read(flags))
    except (SettingsWrong, ModeRefused, StateUnusable) as error:
        code = _report(error, USAGE)
    except (CloudRefused, CannotRunNow, TrialImpossible) as error:
        # For example, credentials may be mounted or served a moment later.
        code = _report(error, FAILED)
    raise typer.Exit(code)


def _report(error: Exception, code: int) -> int:
    """Print the error and return the exit code: a supervisor must get it even if the text cannot be written."""
    Lines(lambda: sys.stderr).write(f"{error}\n")
    return code
