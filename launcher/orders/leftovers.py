"""Clears the state directory of a launcher that will not start again: stops its machines, removes their directories."""

from collections.abc import Collection
from pathlib import Path
from typing import Final

import structlog

from launcher.machines.directory import read
from launcher.machines.inventory import remaining
from launcher.providers.process.identity import end_stragglers
from launcher.providers.registry import local_machines
from shared.log_events import LogEvent

PATIENCE_SECONDS: Final = 10.0

log = structlog.get_logger()


def clear(state: Path, gone: Collection[str] = ()) -> None:
    """Clear a state directory. Entries that cannot be cleared are logged and left alone.

    `gone` are the providers of which no machine exists any more, because they themselves are gone.
    """
    try:
        left = remaining(state)
    except OSError as error:
        log.error(
            LogEvent.LEFTOVERS_NOT_LISTED,
            message="The machines that a launcher left cannot be listed.",
            path=str(state),
            error=error.strerror,
        )
        return
    for path in left:
        try:
            _clear(path, gone)
        except (OSError, ValueError) as error:
            log.error(
                LogEvent.LEFTOVER_LEFT_ALONE,
                message="What a launcher left could not be cleared.",
                path=str(path),
                error=type(error).__name__,
            )


def _clear(path: Path, gone: Collection[str]) -> None:
    """Stop one machine, and remove its directory. Raises OSError, ValueError if that is not possible."""
    directory = read(path)
    if directory.manifest.provider in gone:
        directory.remove()
        return
    if not directory.manifest.argv:
        log.error(
            LogEvent.LEFTOVER_LEFT_ALONE,
            message="The machine that a launcher left is remote: delete it at its provider.",
            path=str(path),
            vm=directory.manifest.vm,
        )
        return
    machine = local_machines(directory.manifest).adopt(directory)
    log.info(
        LogEvent.LEFTOVER_CLEARED,
        message="Stopping a machine that a launcher left, and removing its directory.",
        vm=directory.manifest.vm,
        pid=machine and machine.pid,
    )
    if machine is not None:
        machine.stop(lambda: PATIENCE_SECONDS)
        machine.reap()
    end_stragglers(directory.manifest.uuid)
    directory.remove()
