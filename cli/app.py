"""Puts the `launchyard` command together: the clients' commands, and those that the installed parts bring.

Loading all of them takes half a second, so a command line that names one loads that one only.
"""

from collections.abc import Sequence
from importlib.metadata import EntryPoint
from typing import Final

import typer

from cli.parts import COMMANDS, advice, commands
from shared.exit_codes import FAILED

OWN: Final = tuple(
    EntryPoint(name, module, COMMANDS)
    for name, module in (("order", "cli.orders:app"), ("export", "cli.exports:app"), ("job", "cli.jobs:app"))
)


def build(words: Sequence[str] = ()) -> typer.Typer:
    """Return the command with all that `words` need: the command that the first one names, or else every command.

    A part whose packages are not installed has a hidden command, which says so.
    """
    app = typer.Typer(
        name="launchyard",
        help="Turns an order into a machine that does the work and proves it.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        callback=_nothing,
    )
    every = [*OWN, *commands()]
    for command in [one for one in every if [one.name] == list(words[:1])] or every:
        try:
            brought = command.load()
        except ModuleNotFoundError as error:
            _add_missing(app, command.name, advice(command.name, error))
            continue
        if isinstance(brought, typer.Typer):
            app.add_typer(brought, name=command.name)
        else:
            app.command(command.name)(brought)
    return app


def _nothing() -> None:
    # With a callback, a single command keeps its name (Typer).
    return


def _add_missing(app: typer.Typer, name: str, message: str) -> None:
    @app.command(
        name,
        hidden=True,
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )
    def missing() -> None:
        typer.echo(message, err=True)
        raise typer.Exit(FAILED)
