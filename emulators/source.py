"""The sample source: serves the entities and components in `emulators/arke` on the loopback address.

GET /entities/{pi}    an entity, as JSON
GET /ipfs/{cid}       one component's bytes
"""

import argparse
import re
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from emulators.processes import LOOPBACK, Server, accepts, await_ready, start

FOLDER: Final = Path(__file__).parent / "arke"
ROUTE: Final = re.compile(r"/(entities|ipfs)/([A-Za-z0-9]+)")
"""It has letters and digits only, so no path leads out of the folder."""
CONTENT_TYPES: Final = {"entities": "application/json", "ipfs": "application/octet-stream"}


def start_source(port: int, logs: Path) -> Server:
    """Start the sample source and wait until it answers. Raises StartFailed."""
    argv = [sys.executable, "-m", "emulators.source", "--port", str(port)]
    server = start("the sample source", argv, logs / "source.log")
    await_ready(server, lambda: accepts(port))
    return server


class SampleSource(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        route = ROUTE.fullmatch(self.path)
        file = FOLDER / route[1] / route[2] if route else None
        if route is None or file is None or not file.is_file():
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        body = file.read_bytes()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", CONTENT_TYPES[route[1]])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        sys.stderr.write(f"{format % args}\n")


def serve(port: int) -> None:
    ThreadingHTTPServer((LOOPBACK, port), SampleSource).serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve the sample source on the loopback address.")
    parser.add_argument("--port", type=int, required=True)
    serve(parser.parse_args().port)
