"""Fetching what an order left."""

from pathlib import Path

from shared.api import OrderView
from shared.control_plane import ControlPlane, ControlPlaneError


class NoOutput(ControlPlaneError):
    """The order has left nothing to download."""


def fetch(api: ControlPlane, order: OrderView, folder: Path) -> Path:
    """Download the order's output into `folder`, made where it is missing; return the file. Raises NoOutput."""
    if order.output is None:
        raise NoOutput(f"Order {order.id} is {order.state}; it has no output to download.")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / order.output.file_name
    api.download_output(order.id, file)
    return file
