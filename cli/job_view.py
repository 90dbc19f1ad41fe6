"""Prints agent jobs: session orders, with the status that the agents' contract has for their state."""

import io
import shutil
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

import typer
from pydantic import BaseModel
from rich.table import Column, Table

from cli import view
from shared.domain.order import FINAL, State
from shared.domain.spec import SessionSpec
from shared.wire.orders import OrderList, OrderView

CHUNK: Final = 1 << 16
"""Bytes, or characters, of a log that are printed at once."""


class StatusWord(StrEnum):
    """The contract's words for the state of a job."""

    PENDING = "pending"
    CLAIMED = "claimed"
    RUNNING = "running"
    STOPPING = "stopping"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"


STATUS: Final[Mapping[State | str, StatusWord]] = {
    State.QUEUED: StatusWord.PENDING,
    State.CLAIMED: StatusWord.CLAIMED,
    State.PROVISIONING: StatusWord.CLAIMED,
    State.RUNNING: StatusWord.RUNNING,
    State.SUCCEEDED: StatusWord.COMPLETED,
    State.FAILED: StatusWord.FAILED,
    State.EXPIRED: StatusWord.FAILED,
    State.CANCELLED: StatusWord.STOPPED,
}


class JobView(OrderView):
    """An order as the control plane answers it, and its status. It is the state if a later version has new states."""

    status: str

    @classmethod
    def of(cls, order: OrderView) -> Self:
        return cls.model_validate({**dict(order), "status": status_of(order)})


class JobList(BaseModel):
    """A page of jobs; `next` is the mark of the following page."""

    jobs: tuple[JobView, ...]
    next: str | None


def status_of(order: OrderView) -> str:
    """Return the contract's word for the job's state."""
    if order.cancel_requested and order.state not in FINAL:
        return StatusWord.STOPPING
    return STATUS.get(order.state, order.state)


def print_job(order: OrderView, as_json: bool) -> None:
    if as_json:
        view.print_document(JobView.of(order))
        return
    view.print_rows(
        [("job", order.id), ("status", status_of(order)), ("state", order.state), *view.details(order)],
    )


def print_jobs(page: OrderList, as_json: bool) -> None:
    if as_json:
        view.print_document(JobList(jobs=tuple(map(JobView.of, page.orders)), next=page.next))
        return
    widths = {"job": view.ID_WIDTH, "status": max(map(len, StatusWord))}
    columns = [Column(name, no_wrap=True, min_width=width) for name, width in widths.items()]
    table = Table(*columns, Column("session", overflow="fold"), "reason", "created", box=None, pad_edge=False)
    for order in page.orders:
        session = order.spec.session_name if isinstance(order.spec, SessionSpec) else ""
        created = f"{order.created_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(*map(view.plain, (order.id, status_of(order), session, order.reason or "", created)))
    view.out.print(table)
    view.print_next(page.next)


def print_placed(order: OrderView) -> None:
    view.out.print(view.plain(f"job {order.id}"), soft_wrap=True)


def print_step(order: OrderView) -> None:
    """Print one line for a change of the job's status."""
    view.print_change(order, status_of(order))


def print_log(file: Path) -> None:
    """Print a job's log: as it is, or on a terminal without the control characters that could change the terminal."""
    with file.open("rb") as log:
        if not view.out.is_terminal:
            shutil.copyfileobj(log, typer.get_binary_stream("stdout"), CHUNK)
            return
        text = io.TextIOWrapper(log, encoding="utf-8", errors="replace")
        while chunk := text.read(CHUNK):
            view.out.print(view.plain(chunk), end="", soft_wrap=True)
