"""`launchyard export …`: place an export, wait for it, and download its file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Final
from uuid import uuid4

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from cli import view
from cli.results import Folder, download, follow
from cli.settings import open_control_plane
from shared.client import ControlPlane
from shared.domain.order import State
from shared.domain.spec import CheimarrosMode, ExportOptions, ExportSpec
from shared.exit_codes import FAILED
from shared.wire.orders import OrderView

DEFAULTS: Final = ExportOptions()

app = typer.Typer(help="Run exports.", no_args_is_help=True)


@app.callback()
def exports() -> None:
    """Run exports."""


@app.command()
def run(
    pi: Annotated[str, typer.Argument(help="The entity's 26-character identifier.")],
    to: Folder,
    recursive: Annotated[bool, typer.Option("--recursive", help="Export the entity's whole tree as one file.")] = False,
    max_depth: Annotated[
        int, typer.Option(help="With --recursive: how deep to go below the entity.", min=0, max=100)
    ] = DEFAULTS.max_depth,
    parallel_batch_size: Annotated[
        int, typer.Option(help="With --recursive: the number of entities to read at once.", min=1, max=100)
    ] = DEFAULTS.parallel_batch_size,
    ocr: Annotated[bool, typer.Option(help="Include the pages' OCR text.")] = DEFAULTS.include_ocr,
    cheimarros: Annotated[
        CheimarrosMode, typer.Option(help="How much of the knowledge graph to write.")
    ] = DEFAULTS.cheimarros_mode,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the export to end.", min=1)] = 600,
    as_json: Annotated[bool, typer.Option("--json", help="Print only the order at its end, as JSON.")] = False,
) -> None:
    """Export MODS records in a machine of its own, and download the file. Exit 1 if the export fails."""
    options = ExportOptions(
        include_ocr=ocr,
        cheimarros_mode=cheimarros,
        recursive=recursive,
        max_depth=max_depth,
        parallel_batch_size=parallel_batch_size,
    )
    with open_control_plane() as api:
        order = _run(api, ExportSpec(pi=pi, options=options), timeout, as_json)
        file = download(api, order, to) if order.state is State.SUCCEEDED else None
    if as_json:
        view.print_order(order, as_json)
    elif file is not None:
        view.print_summary(order, file)
    else:
        view.print_end(order)
    if file is None:
        raise typer.Exit(FAILED)


def _run(api: ControlPlane, spec: ExportSpec, timeout: float, quiet: bool) -> OrderView:
    """Place the order and return it once it has ended."""
    with _watching(quiet) as on_change:
        order = api.create_order(spec, str(uuid4()))
        if not quiet:
            view.print_placed(order)
        return follow(api, order.id, timeout, on_change)


@contextmanager
def _watching(quiet: bool) -> Iterator[Callable[[OrderView], None]]:
    """Yield what shows an order's changes: nothing if `quiet`, a bar on a terminal that can redraw it, else lines."""
    if quiet:
        yield lambda _: None
    elif not view.out.is_terminal or view.out.is_dumb_terminal:
        yield view.print_step
    else:
        columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()
        with Progress(*columns, console=view.out, transient=True) as progress:
            bar = progress.add_task("placing the order", total=None)
            yield lambda order: _advance(progress, bar, order)


def _advance(progress: Progress, bar: TaskID, order: OrderView) -> None:
    """Show the state, and of a tree how many of the entities that were found so far are processed."""
    found = order.progress.get("entities_found")
    processed = order.progress.get("entities_done", 0) + order.progress.get("entities_failed", 0)
    description = view.plain(": ".join(filter(None, (order.state, view.progress(order)))))
    progress.update(bar, description=description.plain, total=found, completed=processed)
