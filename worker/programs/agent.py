"""The program of a capacity order: keep the machine up until it is stopped."""

import signal
from typing import NoReturn

from shared.domain.spec import CapacitySpec
from worker.programs import Job


def stay(job: Job[CapacitySpec]) -> NoReturn:  # noqa: ARG001 (every program takes a job)
    """Never return. SIGTERM, from the launcher or from the machine's power button, ends the worker."""
    while True:
        signal.pause()
