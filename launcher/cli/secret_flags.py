"""Warns of secrets on the command line, which every user of the host can read. The contracts' flags stay."""

import sys
from collections.abc import Mapping
from typing import Final

from shared.lines import Lines

ELSEWHERE: Final[Mapping[str, str]] = {
    "--launcher-api-key": "set LAUNCHYARD_LAUNCHER_KEY instead",
    "--admin-token": "set ADMIN_TOKEN instead",
    "--intel-api-key": "leave it out, it is not used",
    "--bootstrap-token": "leave it out, it is not used",
}
"""What to do in place of each flag that takes a secret."""


def warn_of_secrets(given: Mapping[str, str | None]) -> None:
    """Print a warning for each of these flags that has a value. The value is not printed."""
    for flag, value in given.items():
        if value is not None:
            Lines(lambda: sys.stderr).write(
                f"Warning: every user of this host can read {flag} in the list of processes: {ELSEWHERE[flag]}.\n"
            )
