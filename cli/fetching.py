"""Fetching what an order left."""

from pathlib import Path

from shared.api import OrderView
from shared.control_plane import ControlPlane, output_of


def fetch(api: ControlPlane, order: OrderView, folder: Path) -> Path:
    """Download the order's output into `folder`, made where it is missing; return the file. Raises NoOutput."""
    file = folder / output_of(order).file_name
    folder.mkdir(parents=True, exist_ok=True)
    api.download_output(order, file)
    return file
