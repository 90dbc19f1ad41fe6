"""`python -m launcher`: the same commands without the `launchyard` program."""

from launcher.commands import app

app(prog_name="python -m launcher")
