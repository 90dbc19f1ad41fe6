"""Writes docs/lifecycle.md from the table: `python -m tools.lifecycle_page docs/lifecycle.md`."""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from functions.domain.events import AnyEvent, EventKind, Held
from functions.domain.rules import RULES
from shared.domain.order import FINAL, Reason, State

HEAD = """# Lifecycle of an order

Generated from the table in `functions/domain/rules.py` by `make docs`; a test fails when this page is stale.

`lapse`, `retry`, `exit`, `boot_timeout` and `return` queue the order again if it has attempts left and its client has
not cancelled it. If it has none left, all of them but `return` end in `failed`. A launcher that sends heartbeats
reports `provision` before it starts a machine. So a `lapse` before that does not count as an attempt, and the order
waits until its queue TTL, which is extended by the time that the order was held. If the client has cancelled the order,
all of these events end in `cancelled`; a capacity order that ran ends in `succeeded` (`released`) instead. A final
state never changes: a machine's `exit` after the end of its order is accepted, and changes nothing. Events marked
*fenced* carry the epoch. If it is not the current one, the answer is `409 lease_lost`.
"""


def render() -> str:
    return "\n".join([HEAD, *_diagram(), "", *_table(), "", *_events(), "", *_reasons(), ""])


def _diagram() -> Iterator[str]:
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield "    [*] --> queued"
    for (state, event), target in RULES.items():
        if target is not state:
            yield f"    {state} --> {target}: {event}"
    for state in State:
        if state in FINAL:
            yield f"    {state} --> [*]"
    yield "```"


def _table() -> Iterator[str]:
    states = list(State)
    yield "## Rules"
    yield ""
    yield "| event | " + " | ".join(states) + " |"
    yield "|---" * (len(states) + 1) + "|"
    for event in EventKind:
        cells = [RULES.get((state, event), "") for state in states]
        yield f"| {event} | " + " | ".join(cells) + " |"


def _events() -> Iterator[str]:
    yield "## Events"
    yield ""
    yield "| event | fenced | meaning |"
    yield "|---|---|---|"
    for event in AnyEvent.__args__:
        fenced = "yes" if issubclass(event, Held) else ""
        yield f"| {event.kind} | {fenced} | {_meaning(event)} |"


def _meaning(event: type) -> str:
    said = event.__doc__ or ""
    return "" if said.startswith(f"{event.__name__}(") else " ".join(said.split())


def _reasons() -> Iterator[str]:
    yield "## Reasons"
    yield ""
    yield "An order that ended, or was queued again, says why with one of these:"
    yield textwrap.fill(", ".join(f"`{reason}`" for reason in Reason) + ".", 120)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render(), encoding="utf-8")
