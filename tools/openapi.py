"""Writes docs/openapi.json from the routes of every API: `python -m tools.openapi docs/openapi.json`."""

import sys
from pathlib import Path

from functions.apis import APIS
from functions.apis.v1 import HEALTH
from functions.http.openapi import render

if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render(APIS, HEALTH), encoding="utf-8")
