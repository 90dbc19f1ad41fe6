"""Waits for an order to end, and downloads its output."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from shared.client import ControlPlane
from shared.client_errors import ControlPlaneError, Unreachable
from shared.domain.order import FINAL, State
from shared.downloads import output_of
from shared.wire.orders import OrderView

POLL_SECONDS: Final = 0.5


class TookTooLong(ControlPlaneError):
    """The order did not end in time. It continues, and can be watched again."""


def _folder(text: str) -> Path:
    if not text or Path(text).is_file():
        raise typer.BadParameter("it names no folder: give one, or . for this one")
    return Path(text)


Folder = Annotated[
    Path, typer.Option("--out", help="The folder for the file. It is created if it is missing.", parser=_folder)
]


def follow(
    api: ControlPlane,
    order_id: str,
    timeout: float,
    on_change: Callable[[OrderView], None],
    until: frozenset[State] = FINAL,
) -> OrderView:
    """Return the order once its state is in `until`, or final. Call `on_change` if the state or the progress changes.

    It keeps polling while the control plane cannot be reached. Raises TookTooLong after `timeout` seconds, and Refused.
    """
    deadline = time.monotonic() + timeout
    state: State | str | None = None
    progress: Mapping[str, int] = {}
    while True:
        try:
            order = api.get_order(order_id)
        except Unreachable:
            order = None
        if order is not None and (order.state, order.progress) != (state, progress):
            state, progress = order.state, order.progress
            on_change(order)
        if order is not None and (order.state in until or order.state in FINAL):
            return order
        if time.monotonic() > deadline:
            raise TookTooLong(f"Order {order_id} is {state or 'not known'} after {timeout:.0f} s. It goes on.")
        time.sleep(POLL_SECONDS)


def download(api: ControlPlane, order: OrderView, folder: Path) -> Path:
    """Download the order's output into `folder`, which is created if it is missing; return the file.

    Raises NoOutput, OutputMismatch.
    """
    file = folder / output_of(order).file_name
    folder.mkdir(parents=True, exist_ok=True)
    api.download_output(order, file)
    return file
