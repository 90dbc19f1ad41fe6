"""`python -m emulators.compute --port N --guests FOLDER`."""

import argparse
from pathlib import Path

from emulators.compute.server import serve

parser = argparse.ArgumentParser(description="Serve a small Compute Engine on the loopback address.")
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--guests", type=Path, required=True, help="where the instances' guests keep their files")
arguments = parser.parse_args()
serve(arguments.port, arguments.guests)
