"""Writes the OpenAPI document: `python -m tools.openapi docs/openapi.json`."""

import sys
from pathlib import Path

from functions.apis.v1 import HEALTH, V1
from functions.http import openapi


def render() -> str:
    return openapi.render((*V1.routes, *HEALTH))


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render())
