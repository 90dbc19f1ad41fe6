"""Fetching what an order left."""

from pathlib import Path
from typing import Annotated

import typer

from shared.client import ControlPlane, output_of
from shared.wire.orders import OrderView


def _folder(text: str) -> Path:
    if not text or Path(text).is_file():
        raise typer.BadParameter("it names no folder: give one, or . for this one")
    return Path(text)


Folder = Annotated[Path, typer.Option("--out", help="Folder for the file; made if it is missing.", parser=_folder)]


def fetch(api: ControlPlane, order: OrderView, folder: Path) -> Path:
    """Download the order's output into `folder`, made where it is missing; return the file. Raises NoOutput."""
    file = folder / output_of(order).file_name
    folder.mkdir(parents=True, exist_ok=True)
    api.download_output(order, file)
    return file
