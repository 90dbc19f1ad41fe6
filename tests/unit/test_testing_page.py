"""docs/testing.md names only tests, guards and invariants that there are."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DEFINED: Final = re.compile(r"^def (test_\w+)\(", re.MULTILINE)
CELL: Final = re.compile(r"`(?:(test_\w+\.py)::)?(test_\w+)`")
PARTS: Final = ("cli", "emulators", "functions", "launcher", "shared", "tests", "worker")
INVARIANT: Final = re.compile(r"^(\d)\. \*\*", re.MULTILINE)
GUARD: Final = re.compile(r"`(?:\w+\.)*(\w+)`")


def test_every_test_that_the_page_names_is_there() -> None:
    there = {
        (file.name, test)
        for file in (ROOT / "tests").rglob("test_*.py")
        for test in DEFINED.findall(file.read_text(encoding="utf-8"))
    }
    named = {pair for row in _rows() for pair in _named(row[4])}

    assert named
    assert named - there == set()


def test_every_guard_that_the_page_names_is_there() -> None:
    files = [file for part in PARTS for file in (ROOT / part).rglob("*") if file.suffix == ".py" or file.name == "init"]
    words = {word for file in files for word in re.findall(r"\w+", file.read_text(encoding="utf-8"))}
    modules = {name for file in files for name in (file.stem, file.parent.name)}
    named = {name for row in _rows() for name in GUARD.findall(row[2].partition(":")[0])}

    assert named
    assert named - words - modules - {"Makefile"} == set()


def test_each_invariant_has_a_number_of_its_own_and_each_guard_is_of_one_of_them() -> None:
    numbers = INVARIANT.findall(_page())

    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    assert {number for row in _rows() for number in row[1].strip().split(", ")} == set(numbers)


def test_no_guard_has_two_rows() -> None:
    rows = [tuple(row[2:]) for row in _rows()]

    assert [row for row in set(rows) if rows.count(row) > 1] == []


def _page() -> str:
    return (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")


def _rows() -> list[list[str]]:
    """Return the cells of each row of the table of guards; the first is empty, for a row begins with a bar."""
    rows = [row.split("|") for row in _page().splitlines() if row.startswith("|") and row.count("|") == 5]
    return [row for row in rows if row[1].strip() not in ("invariant", "---")]


def _named(cell: str) -> list[tuple[str, str]]:
    """Return each test of a cell with its module: one without is of the module named before."""
    named, module = [], ""
    for own, test in CELL.findall(cell):
        module = own or module
        named.append((module, test))
    return named
