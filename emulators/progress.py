"""Shows the progress of a download: a bar on a terminal that can redraw it, else a line every few seconds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TransferSpeedColumn

STDERR: Final = Console(stderr=True, highlight=False)
SECONDS_BETWEEN_LINES: Final = 5.0
MEGABYTE: Final = 1_000_000

OnProgress = Callable[[int, int | None], None]
"""Called with the number of bytes so far, and with the total if the server gives it."""


@contextmanager
def progress(what: str, console: Console, clock: Callable[[], float] = time.monotonic) -> Iterator[OnProgress]:
    """Yield a function to call after each chunk. `clock` returns seconds."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield _lines(what, console, clock)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TaskProgressColumn())
    with Progress(*columns, TransferSpeedColumn(), console=console) as bar:
        task = bar.add_task(what, total=None)
        yield lambda received, total: bar.update(task, completed=received, total=total)


def print_line(console: Console, line: str) -> None:
    """Print a line unchanged, however wide the console is."""
    console.print(line, markup=False, soft_wrap=True)


def _lines(what: str, console: Console, clock: Callable[[], float]) -> OnProgress:
    last_line = clock()

    def on_progress(received: int, total: int | None) -> None:
        nonlocal last_line
        if clock() - last_line < SECONDS_BETWEEN_LINES:
            return
        last_line = clock()
        of = f" of {total / MEGABYTE:.1f} MB, {received * 100 // total} %" if total else " MB"
        print_line(console, f"{what}: {received / MEGABYTE:.1f}{of}")

    return on_progress
