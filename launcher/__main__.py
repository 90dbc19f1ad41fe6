"""`python -m launcher`: the same commands without the `launchyard` program."""

from launcher.cli.daemon import app
from shared import standard_streams
from shared.signals import exit_on_signals

standard_streams.prepare()
exit_on_signals()
app(prog_name="python -m launcher")
