"""How orders look on a terminal, and as JSON."""

from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Column, Table

from shared.api import OrderList, OrderView

ID_WIDTH: Final = 36
"""Of a UUID: one that is cut short cannot be copied."""

out = Console(highlight=False)


def print_order(order: OrderView, as_json: bool) -> None:
    if as_json:
        out.print_json(order.model_dump_json())
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _rows(order):
        table.add_row(f"[bold]{name}[/]", value)
    out.print(table)


def print_orders(page: OrderList, as_json: bool) -> None:
    if as_json:
        out.print_json(page.model_dump_json())
        return
    table = Table(Column("order", no_wrap=True, min_width=ID_WIDTH), "kind", "state", "reason", "created")
    for order in page.orders:
        table.add_row(order.id, order.kind, order.state, order.reason or "", f"{order.created_at:%Y-%m-%d %H:%M:%S}")
    out.print(table)
    if page.next is not None:
        out.print(f"more: --after {page.next}", markup=False)


def print_file(file: Path) -> None:
    out.print(f"{file}: {file.stat().st_size} bytes", markup=False, soft_wrap=True)


def print_step(order: OrderView) -> None:
    """One line at each change of state."""
    why = f" ({order.reason})" if order.reason else ""
    out.print(f"{order.updated_at:%H:%M:%S}  {order.id}  {order.state}{why}", markup=False)


def _rows(order: OrderView) -> list[tuple[str, str]]:
    rows = [("order", order.id), ("kind", order.kind), ("state", order.state)]
    if order.reason:
        rows.append(("reason", f"{order.reason}: {order.message}" if order.message else order.reason))
    if order.cancel_requested:
        rows.append(("cancel", "requested"))
    rows.append(("attempt", f"{order.attempt} of {order.max_attempts}"))
    if order.vm:
        rows.append(("machine", order.vm))
    if order.output:
        rows.append(("output", f"{order.output.file_name}, {order.output.size} bytes, sha256 {order.output.sha256}"))
    rows.extend(
        (state, f"{at:%Y-%m-%d %H:%M:%S} UTC") for state, at in sorted(order.entered.items(), key=lambda row: row[1])
    )
    return rows
