"""Stands in for Cloud Scheduler: requests a sweep every few seconds. `python -m emulators.scheduler`."""

import sys
import time
from typing import Final

from emulators.settings import SchedulerSettings
from shared.client import ControlPlane
from shared.client_errors import ControlPlaneError
from shared.exit_codes import USAGE
from shared.settings import SettingsWrong, read
from shared.wire.operators import SweepRequest

INTERVAL_SECONDS: Final = 5.0


def main() -> None:
    try:
        settings = read(SchedulerSettings)
        control_plane = ControlPlane(settings.url, settings.admin_key.get_secret_value())
    except SettingsWrong as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(USAGE)
    with control_plane as api:
        while True:
            try:
                api.sweep(SweepRequest())
            except ControlPlaneError as error:
                sys.stderr.write(f"The sweep failed; the next one is in {INTERVAL_SECONDS:.0f} s: {error}\n")
            time.sleep(INTERVAL_SECONDS)


if __name__ == "__main__":
    main()
