"""The commands that each part of the product brings, and the extra of this package that installs what a part needs.

It imports nothing that an extra brings: it explains what to do if such a package is missing.
"""

from importlib.metadata import EntryPoint, entry_points
from typing import Final

COMMANDS: Final = "launchyard.commands"
PARTS: Final = frozenset({"cli", "deploy", "emulators", "functions", "launcher", "shared", "worker"})


def commands() -> list[EntryPoint]:
    """Return the commands of all parts, sorted by name. A part is here even if its extra is not installed."""
    return sorted(entry_points(group=COMMANDS))


def extra_of(command: str) -> str:
    """Return the extra for a command of `launchyard`: it has the name of the part that brings the command."""
    modules = [entry.module for entry in commands() if entry.name == command]
    return modules[0].partition(".")[0] if modules else "cli"


def advice(command: str, error: ModuleNotFoundError) -> str:
    """Return how to install the package that a command lacks. Raises `error` again if the module is our own."""
    if (error.name or "").partition(".")[0] in PARTS:
        raise error
    return (
        f"This command needs the Python package of the module {error.name}, which is not installed. "
        f"Run: pip install 'launchyard[{extra_of(command)}]'"
    )
