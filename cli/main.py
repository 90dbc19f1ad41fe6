"""Runs the `launchyard` command, and explains every failure in words, never as a traceback."""

import sys

from pydantic import ValidationError

from cli.parts import advice
from shared import standard_streams
from shared.client_errors import ControlPlaneError, NoAnswer, RequestWrong
from shared.exit_codes import FAILED, INTERRUPTED, USAGE
from shared.settings import SettingsWrong, explain
from shared.signals import exit_on_signals


def run() -> None:
    """Run the command that the arguments name. Exit with 1 if it fails, with 2 if an argument or a setting is wrong."""
    standard_streams.prepare()
    exit_on_signals()
    try:
        from cli.app import build  # it needs typer and rich, which an extra brings

        build(sys.argv[1:])()
    except ModuleNotFoundError as error:
        _fail(FAILED, advice(sys.argv[1] if len(sys.argv) > 1 else "", error))
    except (SettingsWrong, RequestWrong) as error:
        _fail(USAGE, str(error))
    except ControlPlaneError as error:
        hint = "\nStart the local stack with `launchyard up`." if isinstance(error, NoAnswer) and error.local else ""
        _fail(FAILED, f"{error}{hint}")
    except ValidationError as error:
        _fail(USAGE, "\n".join(explain(error)))
    except OSError as error:  # the command could not read or write a file
        _fail(FAILED, f"{error.filename or 'A file'}: {error.strerror}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _fail(code: int, message: str) -> None:
    try:
        from cli.view import print_error
    except ModuleNotFoundError:
        sys.stderr.write(f"{message}\n")
    else:
        print_error(message)
    sys.exit(code)


if __name__ == "__main__":
    run()
