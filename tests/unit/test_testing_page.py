"""docs/testing.md names only tests that there are."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DEFINED: Final = re.compile(r"^def (test_\w+)\(", re.MULTILINE)
CELL: Final = re.compile(r"`(?:(test_\w+\.py)::)?(test_\w+)`")


def test_every_test_that_the_page_names_is_there() -> None:
    there = {
        (file.name, test)
        for file in (ROOT / "tests").rglob("test_*.py")
        for test in DEFINED.findall(file.read_text(encoding="utf-8"))
    }
    named = {pair for cell in _cells() for pair in _named(cell)}

    assert named
    assert named - there == set()


def _cells() -> list[str]:
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    return [row.split("|")[4] for row in page.splitlines() if row.startswith("|") and row.count("|") == 5]


def _named(cell: str) -> list[tuple[str, str]]:
    """Return each test of a cell with its module: one without is of the module named before."""
    named, module = [], ""
    for own, test in CELL.findall(cell):
        module = own or module
        named.append((module, test))
    return named
