"""`python -m launcher`: the same commands without the `launchyard` program."""

from launcher.commands import app
from shared.signals import exit_when_told

exit_when_told()
app(prog_name="python -m launcher")
