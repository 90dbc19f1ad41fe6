"""The exit codes that the commands of several parts share."""

from typing import Final

FAILED: Final = 1
"""The command could not do what was asked. It may succeed if it is run again."""
USAGE: Final = 2
"""An argument or a setting is wrong: the command ends like this until somebody corrects it. Also Click's own code."""
SIGNALLED: Final = 128
"""By a shell's convention, a process that a signal ended has this code plus the signal's number."""
INTERRUPTED: Final = 130
"""Ctrl-C: SIGNALLED + SIGINT."""
