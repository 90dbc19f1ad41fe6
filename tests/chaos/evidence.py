"""Reads the logs of a chaos run's servers."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from functions.domain.order import Order
from shared.domain.order import State
from shared.domain.spec import TaskSpec
from tests.chaos.observations import Effects
from tests.chaos.schedule import DETACHES

LAUNCHER: Final = "launcher-"
"""How the names of launchers' logs begin."""
PROXIES: Final = ("http_proxy", "store_proxy")
STARTED, ADOPTED, GONE, REFUSED = "machine_started", "machine_adopted", "machine_gone", "report_refused"
LEASE_LOST: Final = "lease_lost"
CALLBACK: Final = "/v1/callbacks/{order_id}"
CONFLICT: Final = 409
SEVERE: Final = ("ERROR", "CRITICAL")
TRACEBACK: Final = re.compile(r"^Traceback", re.MULTILINE)

Line = dict[str, Any]


def faults(logs: Path) -> dict[str, int]:
    """Return how many faults of each kind the proxies have made."""
    lines = ((proxy, line) for proxy in PROXIES for line in _lines(logs / f"{proxy}.log"))
    return _counted(f"{proxy}: {line['fault']}" for proxy, line in lines if "fault" in line)


def machines_started(logs: Path) -> dict[str, int]:
    """Return how many machines each launcher has started."""
    return {
        log.stem.removeprefix(LAUNCHER): sum(_event(line) == STARTED for line in _lines(log))
        for log in _launcher_logs(logs)
    }


def effects(logs: Path, orders: Iterable[Order]) -> Effects:
    """Return what the disruptions led to, as the logs and the orders show."""
    lines = [line for log in _launcher_logs(logs) for line in _lines(log)]
    requests = list(_lines(logs / "functions.log"))
    every = list(orders)
    return Effects(
        machines_adopted=sum(_event(line) == ADOPTED for line in lines),
        machines_lost=sum(_event(line) == GONE and LEASE_LOST in line.values() for line in lines),
        stale_reports=sum(_event(line) == REFUSED and line.get("code") == LEASE_LOST for line in lines),
        worker_reports_refused=sum(
            request.get("route") == CALLBACK and request.get("status") == CONFLICT for request in requests
        ),
        claims_beyond_the_first=sum(max(0, order.epoch - 1) for order in every),
        detached_children=sum(_detaches(order) for order in every),
    )


def errors(logs: Path) -> dict[str, int]:
    """Count the errors that the functions and the launchers logged, by event, and the tracebacks outside log lines."""
    written = [logs / "functions.log", *_launcher_logs(logs)]
    severe = (
        f"{log.stem}: {line.get('message')}"
        for log in written
        for line in _lines(log)
        if line.get("severity") in SEVERE
    )
    tracebacks = (f"{log.stem}: {found}" for log in written for found in TRACEBACK.findall(_text(log)))
    return _counted([*severe, *tracebacks])


def _event(line: Line) -> str:
    return str(line.get("event") or line.get("message")).replace(" ", "_")


def _detaches(order: Order) -> bool:
    return isinstance(order.spec, TaskSpec) and DETACHES in order.spec.command and State.RUNNING in order.entered


def _launcher_logs(logs: Path) -> list[Path]:
    return sorted(logs.glob(f"{LAUNCHER}*.log"))


def _lines(log: Path) -> Iterator[Line]:
    """Yield the lines of a log that are JSON objects."""
    for text in _text(log).splitlines():
        if text.startswith("{"):
            try:
                yield json.loads(text)
            except ValueError:  # a line that a kill -9 cut short
                continue


def _text(log: Path) -> str:
    return log.read_text(errors="replace")


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
