"""A log costs its launcher nothing: its reader may be gone or behind, and its disk full."""

import fcntl
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

import pytest
import structlog

from launcher.daemon import logs
from shared.lines import Lines
from tests.launcher.stand_ins import fill


@contextmanager
def a_pipe() -> Iterator[tuple[int, TextIO]]:
    """Yield the reader's end, and the writer's as a file."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as file:
        yield reader, file
    with suppress(OSError):
        os.close(reader)


def test_a_line_is_written_whole_and_at_once() -> None:
    with a_pipe() as (reader, file):
        fcntl.fcntl(file.fileno(), fcntl.F_SETPIPE_SZ, 1 << 17)
        logs.configure(file)
        structlog.get_logger().info("something_happened", message="Something happened.", what="ü" * 10_000)
        line = json.loads(os.read(reader, 1 << 17))

    assert (line["event"], line["message"], line["severity"]) == ("something_happened", "Something happened.", "INFO")
    assert len(line["what"]) == 10_000
    assert "lines_lost_before" not in line


def gone(reader: int, _file: TextIO) -> None:
    os.close(reader)


def behind(_reader: int, file: TextIO) -> None:
    fill(file.fileno())


def closed(_reader: int, file: TextIO) -> None:
    file.close()


@pytest.mark.parametrize("trouble", [gone, behind, closed])
def test_a_line_that_cannot_be_written_is_lost_and_nothing_else(trouble: Callable[[int, TextIO], None]) -> None:
    with a_pipe() as (reader, file):
        lines = Lines(lambda: file)
        trouble(reader, file)
        for _ in range(3):
            lines.write("a line\n")
        assert lines.lost == 3


def test_a_full_disk_and_a_file_that_was_never_there_lose_lines_and_nothing_else() -> None:
    with open("/dev/full", "w") as full:
        for file in (lambda: full, lambda: None):
            lines = Lines(file)
            lines.write("a line\n")
            assert lines.lost == 1


def test_when_the_reader_is_back_the_log_continues_and_reports_the_loss() -> None:
    with a_pipe() as (reader, file):
        logs.configure(file)
        log = structlog.get_logger()
        filled = fill(file.fileno())
        for _ in range(3):
            log.info("lost")
        while filled:
            filled -= len(os.read(reader, filled))
        log.info("back")
        line = json.loads(os.read(reader, 1 << 16))

    assert (line["event"], line["lines_lost_before"]) == ("back", 3)


def test_a_file_without_a_descriptor_is_written_to() -> None:
    file = io.StringIO()
    Lines(lambda: file).write("a line\n")

    assert file.getvalue() == "a line\n"
