"""The local stand-in for Cloud Scheduler: asks for a sweep at an even pace. `python -m emulators.scheduler`."""

import sys
import time
from typing import Final

from emulators.settings import SchedulerSettings
from shared.client import ControlPlane, ControlPlaneError
from shared.settings import WRONG_SETTINGS, SettingsWrong, read
from shared.wire.operators import SweepRequest

EVERY_SECONDS: Final = 5.0


def main() -> None:
    try:
        settings = read(SchedulerSettings)
        control_plane = ControlPlane(settings.url, settings.admin_key.get_secret_value())
    except SettingsWrong as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(WRONG_SETTINGS)
    with control_plane as api:
        while True:
            try:
                api.sweep(SweepRequest())
            except ControlPlaneError as error:
                sys.stderr.write(f"The sweep failed, and is tried again in {EVERY_SECONDS:.0f} s: {error}\n")
            time.sleep(EVERY_SECONDS)


if __name__ == "__main__":
    main()
