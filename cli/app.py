"""Puts the `launchyard` command together: the clients' commands, and those that the installed parts bring."""

import typer

from cli import exports, jobs, orders
from cli.parts import advice, commands
from shared.exit_codes import FAILED


def build() -> typer.Typer:
    """Return the whole command. A part whose packages are not installed has a hidden command, which says so."""
    app = typer.Typer(
        name="launchyard",
        help="Turns an order into a machine that does the work and proves it.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    app.add_typer(orders.app, name="order")
    app.add_typer(exports.app, name="export")
    app.add_typer(jobs.app, name="job")
    for command in commands():
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
