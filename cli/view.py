"""Prints orders on a terminal, or as JSON."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import BaseModel
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from shared.domain.order import State
from shared.domain.spec import OrderKind, SessionSpec
from shared.wire.orders import OrderList, OrderView

ID_WIDTH: Final = 36
"""The length of a UUID, so that ids are shown whole and can be copied."""
KIND_WIDTH: Final = max(map(len, OrderKind))
STATE_WIDTH: Final = max(map(len, State))
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
ALLOWED_CONTROLS: Final = "\n\t"
SHOWN_OF_PROMPT: Final = 200
"""Characters; a prompt can have thousands."""

out = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def plain(text: str) -> Text:
    """Return untrusted text, such as a worker's, without markup and without control characters for the terminal."""
    shown = (
        REPLACEMENT if unicodedata.category(char) == "Cc" and char not in ALLOWED_CONTROLS else char for char in text
    )
    return Text("".join(shown))


def print_error(message: str) -> None:
    """Print a message in red on standard error."""
    errors.print(plain(message), style="red", soft_wrap=True)


def print_order(order: OrderView, as_json: bool) -> None:
    if as_json:
        print_document(order)
        return
    print_rows([("order", order.id), ("kind", order.kind), ("state", order.state), *details(order)])


def print_orders(page: OrderList, as_json: bool) -> None:
    if as_json:
        print_document(page)
        return
    widths = {"order": ID_WIDTH, "kind": KIND_WIDTH, "state": STATE_WIDTH}
    columns = [Column(name, no_wrap=True, min_width=width) for name, width in widths.items()]
    table = Table(*columns, "reason", "created", box=None, pad_edge=False)
    for order in page.orders:
        created = f"{order.created_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(*map(plain, (order.id, order.kind, order.state, order.reason or "", created)))
    out.print(table)
    print_next(page.next)


def print_next(mark: str | None) -> None:
    """Print how to ask for the next page of a list, if there is one."""
    if mark is not None:
        out.print(plain(f"more: --after {mark}"), soft_wrap=True)


def print_placed(order: OrderView) -> None:
    out.print(plain(f"order {order.id}"), soft_wrap=True)


def print_file(file: Path) -> None:
    out.print(plain(f"{file}: {file.stat().st_size} bytes"), soft_wrap=True)


def print_step(order: OrderView) -> None:
    """Print one line for a change of state or of progress."""
    print_change(order, order.state)


def print_change(order: OrderView, word: str) -> None:
    """Print one line for a change; `word` is that of the state."""
    why = f" ({order.reason})" if order.reason else ""
    done = f"  {progress(order)}" if order.progress else ""
    out.print(plain(f"{order.updated_at:%H:%M:%S}  {order.id}  {word}{why}{done}"), soft_wrap=True)


def progress(order: OrderView) -> str:
    """Return what its worker last reported, such as `entities done 12, entities found 30`."""
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in order.progress.items())


def print_end(order: OrderView) -> None:
    """Print how an order ended that did not succeed."""
    why = plain(f": {order.reason}: {order.message or 'no message'}")
    out.print(Text.assemble((order.state, "red"), why))


def print_summary(order: OrderView, file: Path) -> None:
    """Print the export's file, and what the run cost."""
    rows = [("file", f"{file}"), ("size", f"{file.stat().st_size} bytes"), ("attempts", f"{order.attempt}")]
    rows += [(name.replace("_", " "), f"{value}") for name, value in sorted(order.metrics.items())]
    print_rows(rows)


def print_rows(rows: Sequence[tuple[str, str]]) -> None:
    """Print a table of names and values."""
    table = Table(Column(style="bold"), Column(overflow="fold"), show_header=False, box=None, pad_edge=False)
    for name, value in rows:
        table.add_row(plain(name), plain(value))
    out.print(table)


def print_document(document: BaseModel) -> None:
    """Print JSON, whose own escapes keep control characters off the terminal."""
    out.print_json(document.model_dump_json(), ensure_ascii=True)


def details(order: OrderView) -> list[tuple[str, str]]:
    """Return what is known of an order besides its id, kind and state."""
    rows = []
    if order.reason:
        rows.append(("reason", f"{order.reason}: {order.message}" if order.message else order.reason))
    elif order.message:
        rows.append(("message", order.message))
    if order.cancel_requested:
        rows.append(("cancel", "requested"))
    rows.append(("attempt", f"{order.attempt} of {order.max_attempts}"))
    if order.launcher:
        rows.append(("launcher", order.launcher))
    if order.vm:
        rows.append(("machine", order.vm))
    if isinstance(order.spec, SessionSpec):
        rows.extend(_session_rows(order.spec))
    if order.progress:
        rows.append(("progress", progress(order)))
    if order.output:
        digest = f"sha256 {order.output.sha256}" if order.output.sha256 else "no digest"
        rows.append(("output", f"{order.output.file_name}, {order.output.size} bytes, {digest}"))
    rows.extend(
        (state, f"{at:%Y-%m-%d %H:%M:%S} UTC") for state, at in sorted(order.entered.items(), key=lambda row: row[1])
    )
    return rows


def _session_rows(spec: SessionSpec) -> list[tuple[str, str]]:
    prompt = spec.prompt.strip()
    cut = "…" if len(prompt) > SHOWN_OF_PROMPT else ""
    values = {
        "session": f"{spec.session_name}, resumed" if spec.resume else spec.session_name,
        "agent": spec.agent_name,
        "directory": spec.project_dir,
        "parent": spec.parent_session_name,
        "labels": ", ".join(spec.labels),
        "prompt": f"{prompt[:SHOWN_OF_PROMPT]}{cut}",
    }
    return [(name, value) for name, value in values.items() if value]
