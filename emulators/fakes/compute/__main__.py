"""`python -m emulators.fakes.compute --port N --logs FOLDER`, below the path of LAUNCHYARD_GCP_ENDPOINT."""

import argparse
from pathlib import Path

from emulators.fakes.compute.server import serve
from emulators.settings import ComputeSettings
from shared.settings import read_or_exit

parser = argparse.ArgumentParser(description="Serve a small Compute Engine on the loopback address.")
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--logs", type=Path, required=True, help="the folder for the logs and configurations of guests")
arguments = parser.parse_args()
serve(arguments.port, arguments.logs, read_or_exit(ComputeSettings))
