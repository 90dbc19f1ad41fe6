"""`launchyard up` and `launchyard down`: the local stack.

Every `launchyard` command loads this module. So it imports the stack, which loads Google's and Amazon's libraries for a
second, only once one of these two runs.
"""

import sys
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from emulators.processes import StartFailed
from emulators.settings import Backend, ProviderChoice, StackSettings

out = Console(highlight=False)
USAGE = 2


def up(
    backend: Annotated[
        Backend | None,
        typer.Option(help="google: the official emulators; memory: nothing kept; auto: memory if they cannot be had."),
    ] = None,
    provider: Annotated[ProviderChoice | None, typer.Option(help="What runs the workers.")] = None,
    port: Annotated[int | None, typer.Option(help="The control plane's port.")] = None,
    slots: Annotated[int | None, typer.Option(help="Machines at once.")] = None,
) -> None:
    """Start the local stack and wait until all of it answers. Every port is settable: LAUNCHYARD_…_PORT."""
    from emulators import stack

    chosen = {"backend": backend, "provider": provider, "port": port, "slots": slots}
    try:
        stack.up(_settings({name: value for name, value in chosen.items() if value is not None}), _say)
    except StartFailed as error:
        _fail(error)


def down() -> None:
    """Stop exactly what `up` started."""
    from emulators import stack

    try:
        stopped = stack.down(_settings({}).home)
    except StartFailed as error:
        _fail(error)
    for server in reversed(stopped):
        _say(f"stopped {server.name}")
    if not stopped:
        _say("nothing was running")


def _settings(chosen: dict[str, object]) -> StackSettings:
    try:
        return StackSettings.model_validate(StackSettings().model_dump() | chosen)
    except ValidationError as error:
        for wrong in error.errors(include_url=False):
            name = "_".join(str(part) for part in wrong["loc"]).upper()
            sys.stderr.write(f"LAUNCHYARD_{name}: {wrong['msg']}\n")
        raise typer.Exit(USAGE) from error


def _fail(error: StartFailed) -> NoReturn:
    """Say why, and exit with 1."""
    Console(stderr=True).print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1) from error


def _say(line: str) -> None:
    out.print(line, markup=False, soft_wrap=True)
