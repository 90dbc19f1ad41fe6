"""For a launcher that has gone for good: its machines are stopped, and their directories removed."""

from pathlib import Path
from typing import Final

import structlog

from launcher.machines.directory import read, remaining
from launcher.providers.process.identity import end_stragglers
from launcher.providers.registry import local_machines

PATIENCE_SECONDS: Final = 10.0

log = structlog.get_logger()


def clear(state: Path) -> None:
    try:
        left = remaining(state)
    except OSError as error:
        log.error("leftovers cannot be looked for", path=str(state), error=error.strerror)
        return
    for path in left:
        try:
            _clear(path)
        except (OSError, ValueError) as error:
            log.error("a leftover is left alone", path=str(path), error=type(error).__name__)


def _clear(path: Path) -> None:
    """Raises OSError, ValueError if it cannot be told what runs, or the directory not be removed."""
    directory = read(path)
    if not directory.manifest.argv:
        log.error("a leftover runs elsewhere, and is left alone", vm=directory.manifest.vm)
        return
    machine = local_machines(directory.manifest).adopt(directory)
    log.info("clearing a leftover", vm=directory.manifest.vm, pid=machine and machine.pid)
    if machine is not None:
        machine.stop(lambda: PATIENCE_SECONDS)
        machine.reap()
    end_stragglers(directory.manifest.uuid)
    directory.remove()
