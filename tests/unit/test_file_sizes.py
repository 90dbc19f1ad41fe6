"""Files of tests stay short enough to be read: each has one subject."""

from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parents[1]
MAX_LINES: Final = 500


def test_no_file_of_tests_is_longer_than_the_limit() -> None:
    lines = {
        str(file.relative_to(TESTS)): len(file.read_text(encoding="utf-8").splitlines()) for file in TESTS.rglob("*.py")
    }

    assert len(lines) > 100
    assert {file: count for file, count in lines.items() if count > MAX_LINES} == {}
