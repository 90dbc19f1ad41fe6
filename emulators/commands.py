"""`launchyard up` and `launchyard down`: the local stack.

Every `launchyard` command loads this module. Importing the stack loads Google's and Amazon's libraries, which takes a
second, so only these two commands do it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console

from emulators.processes import StartFailed
from emulators.settings import BackendChoice, ProviderChoice, StackSettings
from shared.exit_codes import FAILED
from shared.settings import read

out = Console(highlight=False)


def up(
    backend: Annotated[
        BackendChoice | None,
        typer.Option(help="google: the official emulators; memory: keep nothing; auto: google if available."),
    ] = None,
    provider: Annotated[
        ProviderChoice | None,
        typer.Option(help="qemu: virtual machines; process: processes; fly: images; auto: qemu if installed."),
    ] = None,
    port: Annotated[int | None, typer.Option(help="The control plane's port.")] = None,
    slots: Annotated[int | None, typer.Option(help="The number of machines that may run at once.")] = None,
) -> None:
    """Start the local stack and wait until every server answers. LAUNCHYARD_…_PORT sets each port."""
    from emulators import stack

    chosen = {"backend": backend, "provider": provider, "port": port, "slots": slots}
    settings = read(StackSettings, {name: value for name, value in chosen.items() if value is not None})
    with _explained():
        stack.up(settings, _print_line)


def down() -> None:
    """Stop exactly the processes that `up` started."""
    from emulators import stack

    home = read(StackSettings).home
    with _explained():
        stopped = stack.down(home)
    for server in reversed(stopped):
        _print_line(f"stopped {server.name}")
    if not stopped:
        _print_line("nothing was running")


@contextmanager
def _explained() -> Iterator[None]:
    """Turn a server that did not start into a message and exit code 1."""
    try:
        yield
    except StartFailed as error:
        Console(stderr=True).print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(FAILED) from error


def _print_line(line: str) -> None:
    out.print(line, markup=False, soft_wrap=True)
