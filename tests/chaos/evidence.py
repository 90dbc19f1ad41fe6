"""What a chaos run's servers left in their logs and in the bucket."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from emulators import s3
from emulators.settings import BUCKET
from functions.adapters.s3 import s3_client
from functions.domain.order import Order
from shared.domain.order import State
from shared.domain.spec import TaskSpec
from shared.log_events import LogEvent
from tests.chaos.observations import Effects
from tests.chaos.schedule import DETACHES

LAUNCHER: Final = "launcher-"
"""How the names of launchers' logs begin."""
PROXIES: Final = ("http_proxy", "store_proxy")
STARTED, ADOPTED, GONE, REFUSED = (
    f'"event": "{event}"'
    for event in (LogEvent.MACHINE_STARTED, LogEvent.MACHINE_ADOPTED, LogEvent.MACHINE_GONE, LogEvent.REPORT_REFUSED)
)
LOST, STALE = '"stop_reason": "lease_lost"', '"code": "lease_lost"'
CALLBACK_REFUSED: Final = '"message": "POST /v1/callbacks/{order_id} 409"'
ERROR: Final = re.compile(r'"severity": "(ERROR|CRITICAL)"|^Traceback')


def objects(environment: Mapping[str, str]) -> dict[str, bytes]:
    """Return everything in the bucket."""
    client = s3_client(
        environment["LAUNCHYARD_S3_ENDPOINT"],
        s3.REGION,
        environment["LAUNCHYARD_S3_ACCESS_KEY_ID"],
        environment["LAUNCHYARD_S3_SECRET_ACCESS_KEY"],
    )
    try:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        return {key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}
    finally:
        client.close()


def faults(logs: Path) -> dict[str, int]:
    """Return how many faults of each kind the proxies have made."""
    told = ((proxy, line) for proxy in PROXIES for line in (logs / f"{proxy}.log").read_text().splitlines())
    return _counted(f"{proxy}: {json.loads(line)['fault']}" for proxy, line in told if line.startswith('{"fault"'))


def machines_started(logs: Path) -> dict[str, int]:
    """Return how many machines each launcher has started."""
    launchers = sorted(logs.glob(f"{LAUNCHER}*.log"))
    return {log.stem.removeprefix(LAUNCHER): log.read_text().count(STARTED) for log in launchers}


def effects(logs: Path, orders: Iterable[Order]) -> Effects:
    """Return what the blows came to, as the logs and the orders tell."""
    told = [line for log in sorted(logs.glob(f"{LAUNCHER}*.log")) for line in log.read_text().splitlines()]
    refused = (logs / "functions.log").read_text(errors="replace").count(CALLBACK_REFUSED)
    every = list(orders)
    return Effects(
        machines_adopted=sum(ADOPTED in line for line in told),
        machines_lost=sum(GONE in line and LOST in line for line in told),
        stale_reports=sum(REFUSED in line and STALE in line for line in told),
        worker_reports_refused=refused,
        claims_beyond_the_first=sum(max(0, order.epoch - 1) for order in every),
        detached_children=sum(_detached(order) for order in every),
    )


def _detached(order: Order) -> bool:
    return isinstance(order.spec, TaskSpec) and DETACHES in order.spec.command and State.RUNNING in order.entered


def errors(logs: Path) -> dict[str, int]:
    """Return how often the functions and the launchers logged each error."""
    parts = [logs / "functions.log", *logs.glob(f"{LAUNCHER}*.log")]
    return _counted(f"{log.stem}: {message}" for log in parts for message in _errors(log))


def _errors(log: Path) -> Iterator[str]:
    for line in log.read_text(errors="replace").splitlines():
        if ERROR.search(line):
            try:
                yield str(json.loads(line).get("message"))
            except ValueError:
                yield line


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
