"""`python -m worker [--config PATH]`: run the order of the configuration, or a standalone machine's program.

Without `--config` the configuration is the variable CONFIG_VARIABLE, for machines that get no files.
"""

import argparse
import os
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from shared.guest.config import StandaloneConfig, WorkerConfig
from worker import standalone
from worker.logs import open_log
from worker.network import client
from worker.runtime import UNDELIVERED, Worker

CONFIG_VARIABLE: Final = "LAUNCHYARD_WORKER_CONFIG"
EXIT_SECONDS: Final = 8
"""How long a worker that is stopped may take to exit: a session's executor has 5 s to end."""


def main() -> int:
    signal.signal(signal.SIGTERM, _stop)
    try:
        config = _read(_document(_arguments()))
    except ValidationError as error:
        sys.stderr.write(f"[worker] the configuration is not valid for this version: {_fields(error)}\n")
        return UNDELIVERED
    if isinstance(config, StandaloneConfig):
        return standalone.run(config, _uptime())
    log = open_log(config)
    system = os.uname()
    log.info("started on %s %s, %s s after its boot", system.sysname, system.release, _uptime())
    with (
        client(config.loopback_gateway, config.authorities, config.proxy, config.sources.private) as http,
        tempfile.TemporaryDirectory(prefix="worker-") as folder,
    ):
        return Worker(config, http, Path(folder), log).run()


def _document(arguments: argparse.Namespace) -> bytes:
    """Return the configuration's document. Programs that the worker starts do not inherit it: it holds a credential."""
    in_environment = os.environ.pop(CONFIG_VARIABLE, "").encode()
    return in_environment if arguments.config is None else arguments.config.read_bytes()


def _read(document: bytes) -> WorkerConfig | StandaloneConfig:
    """Read either kind of configuration. Raises ValidationError, with the errors of an order's configuration."""
    with suppress(ValidationError):
        return StandaloneConfig.model_validate_json(document)
    return WorkerConfig.model_validate_json(document)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="worker", description="Run the order of a configuration, then exit.")
    parser.add_argument("--config", type=Path, help="the JSON document that the launcher wrote")
    arguments = parser.parse_args()
    if arguments.config is None and not os.environ.get(CONFIG_VARIABLE):
        parser.error(f"there is no configuration: give --config, or set {CONFIG_VARIABLE}")
    return arguments


def _fields(error: ValidationError) -> str:
    """Describe each wrong field without its value: one of the values is a credential."""
    return "; ".join(f"{'.'.join(map(str, wrong['loc'])) or 'document'}: {wrong['type']}" for wrong in error.errors())


def _uptime() -> str:
    return Path("/proc/uptime").read_text().split()[0]


def _stop(number: int, frame: object) -> None:  # noqa: ARG001 (a signal handler takes it)
    """Exit without a report: the launcher knows why it stops this worker. Ignore further signals on the way out.

    Python discards an exception that is raised in a weak reference's callback, for example during an import. So a timer
    ends the process if this exception does not.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, _end)
    signal.alarm(EXIT_SECONDS)
    sys.exit(UNDELIVERED)


def _end(number: int, frame: object) -> None:  # noqa: ARG001 (a signal handler takes it)
    from worker.programs import process_tree

    process_tree.kill_descendants()
    os._exit(UNDELIVERED)


if __name__ == "__main__":
    sys.exit(main())
