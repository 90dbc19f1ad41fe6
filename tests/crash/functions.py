"""All functions in one process, which ends when it is killed: gunicorn would start its workers again.

python -m tests.crash.functions --port 8080 [--point CREATE_STORED]
"""

import argparse
from pathlib import Path
from typing import Final

import functions_framework

from emulators.serving import bind
from functions import wiring
from shared.crash_points import Point, arm

MAIN: Final = Path(wiring.__file__).parent / "main.py"


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve the functions, and die at a crash point.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--point", choices=Point.__members__)
    arguments = parser.parse_args()
    if arguments.point is not None:
        arm(Point[arguments.point])
    app = functions_framework.create_app("everything", str(MAIN))  # type: ignore[no-untyped-call]
    bind(app, arguments.port).serve_forever()


if __name__ == "__main__":
    main()
