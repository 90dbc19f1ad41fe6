"""Every user of a host can read its command lines: no flag takes a secret without a warning, and none is needed."""

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
import typer
from typer.testing import CliRunner

from cli.app import build
from launcher.cli.secret_flags import ELSEWHERE

SECRET: Final = re.compile(r"(^|-)(key|secret|token|password)s?$")
NO_SECRETS: Final = {"--key", "--idempotency-key", "--secret"}
"""An idempotency key, and the name of an operator's secret."""
CANARY: Final = "canary-of-a-secret"


def options(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each option of the command, and of those below it, with the names of its command."""
    for inner, found in getattr(command, "commands", {}).items():
        yield from options(found, (*path, inner))
    for parameter in command.params:
        if parameter.param_type_name == "option":
            yield path, parameter


FLAGS: Final = [
    (path, name, option.help or "")
    for path, option in options(typer.main.get_command(build()))
    for name in option.opts
    if SECRET.search(name) and name not in NO_SECRETS
]


def test_every_flag_that_takes_a_secret_is_known() -> None:
    assert {flag for _, flag, _ in FLAGS} == set(ELSEWHERE)


@pytest.mark.parametrize(
    ("path", "flag", "help_text"), FLAGS, ids=lambda value: value if isinstance(value, str) else None
)
def test_a_secret_that_is_given_as_an_argument_is_warned_of(path: tuple[str, ...], flag: str, help_text: str) -> None:
    needed = ["nobody"] if path == ("vm", "delete") else []

    done = CliRunner().invoke(build(), [*path, *needed, flag, CANARY], env={"LAUNCHYARD_URL": ""})

    [warning] = [line for line in done.stderr.splitlines() if line.startswith("Warning: ")]
    assert f"can read {flag}" in warning
    assert ELSEWHERE[flag] in warning
    assert CANARY not in done.output
    assert help_text.startswith("Deprecated: ")


def test_a_secret_of_the_environment_is_not_warned_of() -> None:
    variables = {"LAUNCHYARD_LAUNCHER_KEY": CANARY, "ADMIN_TOKEN": CANARY, "LAUNCHYARD_URL": ""}
    for arguments in (["launcher", "run"], ["vm", "delete", "nobody"]):
        assert "Warning: " not in CliRunner().invoke(build(), arguments, env=variables).output
