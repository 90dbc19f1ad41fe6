"""All functions in one process, without gunicorn, which would replace a worker that was killed.

python -m tests.harness.functions --port 8080 [--point CREATE_STORED] [--clock FILE] [--small-parts]
"""

import argparse
import os
from datetime import datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path
from typing import Final, Self

import functions_framework

import functions
from emulators.services import THREADS
from emulators.serving import bind
from functions.adapters import s3
from functions.domain.multipart import MIB, PartLimits
from functions.wiring import clock
from shared.crash_points import Point, arm

MAIN: Final = Path(functions.__path__[0]) / "main.py"
SMALL_PARTS: Final = PartLimits(single=8 * MIB, smallest=5 * MIB)


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve the functions for a test.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--point", choices=Point.__members__, help="die at this crash point")
    parser.add_argument("--clock", type=Path, help="read from this file how many seconds the clock is ahead")
    parser.add_argument("--small-parts", action="store_true", help="grant parts of 5 MiB to outputs over 8 MiB")
    arguments = parser.parse_args()
    if arguments.small_parts:
        vars(s3)["S3Bucket"] = partial(s3.S3Bucket, limits=SMALL_PARTS)
    if arguments.point is not None:
        arm(Point[arguments.point])
    if arguments.clock is not None:
        set_clock(arguments.clock)
    os.environ.setdefault("THREADS", THREADS)  # this server makes a thread for each request
    app = functions_framework.create_app("everything", str(MAIN))  # type: ignore[no-untyped-call]
    bind(app, arguments.port).serve_forever()


def set_clock(ahead: Path) -> None:
    """Make the clock that `wiring` gives to the functions as many seconds ahead as the file says at each moment."""

    class ShiftedDatetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(seconds=float(ahead.read_text()))

    vars(clock)["datetime"] = ShiftedDatetime


if __name__ == "__main__":
    main()
