"""A capacity order's program: the machine is up, and stays so until it is stopped."""

import signal
from typing import NoReturn

from shared.domain.spec import CapacitySpec
from worker.programs import Job


def stay(job: Job[CapacitySpec]) -> NoReturn:  # noqa: ARG001 (it is a program)
    """Never return: SIGTERM ends the worker, sent by the launcher or by the machine's power button."""
    while True:
        signal.pause()
