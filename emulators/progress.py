"""How far a download is: a bar on a terminal, else a line now and then."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TransferSpeedColumn

STDERR: Final = Console(stderr=True, highlight=False)
SECONDS_BETWEEN_LINES: Final = 5.0
MEGABYTE: Final = 1_000_000

Told = Callable[[int, int | None], None]
"""Called with the bytes that are there, and with those of the whole if the server says how many."""


@contextmanager
def progress(what: str, console: Console, clock: Callable[[], float] = time.monotonic) -> Iterator[Told]:
    """Yield what is to be told of each piece; `clock` is in seconds."""
    if not console.is_terminal:
        yield _lines(what, console, clock)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TaskProgressColumn())
    with Progress(*columns, TransferSpeedColumn(), console=console) as bar:
        task = bar.add_task(what, total=None)
        yield lambda there, whole: bar.update(task, completed=there, total=whole)


def say(console: Console, line: str) -> None:
    """Print a line as it is, however wide the console."""
    console.print(line, markup=False, soft_wrap=True)


def _lines(what: str, console: Console, clock: Callable[[], float]) -> Told:
    said = clock()

    def told(there: int, whole: int | None) -> None:
        nonlocal said
        if clock() - said < SECONDS_BETWEEN_LINES:
            return
        said = clock()
        of = f" of {whole / MEGABYTE:.1f} MB, {there * 100 // whole} %" if whole else " MB"
        say(console, f"{what}: {there / MEGABYTE:.1f}{of}")

    return told
