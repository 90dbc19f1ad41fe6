"""`python -m emulators.fakes.fly --port N --logs FOLDER`, with the token, app and images of the environment."""

import argparse
from pathlib import Path

from emulators.fakes.fly.server import serve
from emulators.settings import LocalFlySettings
from shared.settings import read_or_exit

parser = argparse.ArgumentParser(description="Serve a small Fly Machines API on the loopback address.")
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--logs", type=Path, required=True, help="the folder for the logs of machines")
arguments = parser.parse_args()
serve(arguments.port, arguments.logs, read_or_exit(LocalFlySettings))
