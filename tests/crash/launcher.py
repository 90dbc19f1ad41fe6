"""The launcher, which may die at a crash point: `python -m tests.crash.launcher [--point LAUNCHER_CLAIMED]`."""

import argparse

from launcher.cli.daemon import app
from shared.crash_points import Point, arm


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the launcher, and die at a crash point.")
    parser.add_argument("--point", choices=Point.__members__)
    arguments = parser.parse_args()
    if arguments.point is not None:
        arm(Point[arguments.point])
    app(["run"])


if __name__ == "__main__":
    main()
