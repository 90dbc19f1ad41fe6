"""`launchyard launcher run`: starts the daemon. Each flag is a setting's twin, and wins over the environment."""

from typing import Annotated

import typer

from launcher import doctor
from launcher.composition import StateUnusable, serve
from launcher.settings import SettingsWrong, read
from launcher.vm.probe import ModeRefused

WRONG_SETTINGS = 2

app = typer.Typer(help="The launcher daemon.", no_args_is_help=True)

Flag = str | None

app.command()(doctor.doctor)


@app.callback()
def launcher() -> None:
    """The launcher daemon: takes orders off the queue and keeps their machines."""


@app.command()
def run(
    url: Annotated[Flag, typer.Option(help="The control plane's base URL.")] = None,
    name: Annotated[Flag, typer.Option(help="This launcher's name. [default: the host's]")] = None,
    datacenter: Annotated[Flag, typer.Option(help="<provider>:<location>, such as local:dev.")] = None,
    provider: Annotated[Flag, typer.Option(help="qemu or process.")] = None,
    qemu_mode: Annotated[Flag, typer.Option(help="auto, tcg, kvm or tdx.")] = None,
    slots: Annotated[Flag, typer.Option(help="Machines at once.")] = None,
    state_dir: Annotated[Flag, typer.Option(help="Where machines' directories are kept.")] = None,
    image: Annotated[Flag, typer.Option(help="The guest image's directory.")] = None,
    image_digest: Annotated[Flag, typer.Option(help="The guest image's digest: 64 hexadecimal digits.")] = None,
    subscription: Annotated[Flag, typer.Option(help="projects/P/subscriptions/S; without, orders are polled.")] = None,
) -> None:
    """Take orders and run their machines, until SIGTERM. The key comes from LAUNCHYARD_LAUNCHER_KEY only."""
    flags = {
        "url": url,
        "launcher_name": name,
        "datacenter": datacenter,
        "provider": provider,
        "qemu_mode": qemu_mode,
        "slots": slots,
        "state_dir": state_dir,
        "image": image,
        "image_digest": image_digest,
        "subscription": subscription,
    }
    try:
        code = serve(read({field: value for field, value in flags.items() if value is not None}))
    except (SettingsWrong, ModeRefused, StateUnusable) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(WRONG_SETTINGS) from None
    raise typer.Exit(code)
