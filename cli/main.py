"""The `launchyard` command: the clients' commands, and those that the installed parts of the product bring."""

import sys
from importlib.metadata import entry_points
from typing import Final

import typer
from pydantic import ValidationError
from rich.console import Console

from cli import exports, orders
from cli.view import plain
from shared import standard_streams
from shared.client import ControlPlaneError, NoAnswer, RequestWrong
from shared.settings import SettingsWrong
from shared.signals import exit_when_told

COMMANDS: Final = "launchyard.commands"
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130

errors = Console(stderr=True)


def build() -> typer.Typer:
    app = typer.Typer(
        name="launchyard",
        help="Turns an order into a machine that does the work and proves it.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    app.add_typer(orders.app, name="order")
    app.add_typer(exports.app, name="export")
    for part in sorted(entry_points(group=COMMANDS)):
        brought = part.load()
        if isinstance(brought, typer.Typer):
            app.add_typer(brought, name=part.name)
        else:
            app.command(part.name)(brought)
    return app


def run() -> None:
    """Run the command. What is wrong is said in words, never as a traceback: exit 1, or 2 for wrong arguments."""
    standard_streams.prepare()
    exit_when_told()
    try:
        build()()
    except (SettingsWrong, RequestWrong) as error:
        _say(str(error))
        sys.exit(USAGE)
    except ControlPlaneError as error:
        _say(str(error))
        if isinstance(error, NoAnswer) and error.local:
            _say("Start the local stack with `launchyard up`.")
        sys.exit(FAILED)
    except ValidationError as error:
        for wrong in error.errors(include_input=False, include_url=False):
            field = ".".join(str(part) for part in wrong["loc"])
            _say(f"{field}: {wrong['msg'].removeprefix('Value error, ')}")
        sys.exit(USAGE)
    except OSError as error:  # of a file that the command was to read or write
        _say(f"{error.filename or 'A file'}: {error.strerror}")
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _say(what: str) -> None:
    errors.print(plain(what), style="red", soft_wrap=True)


if __name__ == "__main__":
    run()
