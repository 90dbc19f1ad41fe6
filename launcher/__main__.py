"""`python -m launcher`: the same commands without the `launchyard` program."""

from launcher.commands import app
from shared import standard_streams

standard_streams.prepare()
app(prog_name="python -m launcher")
