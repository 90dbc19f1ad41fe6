"""Modules, functions and files of tests are short enough to be read at once.

The modules of the product that are longer are listed, each with why.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tools.sources import tree_of

ROOT: Final = Path(__file__).parents[2]
PRODUCT: Final = ("cli", "deploy", "emulators", "functions", "launcher", "shared", "worker")
MAX_LINES: Final = 250
MAX_FUNCTION_LINES: Final = 70
MAX_TEST_LINES: Final = 500
LONGER: Final = {
    "functions/adapters/firestore.py": "the port of the order store, whose methods share how Firestore is read",
    "functions/apis/capacity/accounts.py": "one resource of the contract, its bodies beside its handlers",
    "functions/apis/capacity/agents.py": "one resource of the contract, its bodies beside its handlers",
    "functions/domain/events.py": "one list: a few lines for each event of an order",
    "functions/domain/rules.py": "one table, and the function that reads it (ADR 16)",
    "functions/engine/arrivals.py": "one lock guards what all its methods change",
    "functions/engine/candidates.py": "one lock guards what all its methods change",
    "functions/server.py": "one server: what it limits, and how a connection ends",
    "functions/settings.py": "one list: a few lines for each model of settings",
    "launcher/orders/attempt.py": "one attempt, from its plan to its last report",
    "worker/network.py": "one client: each of its transports is a few lines",
}
"""Modules of more than MAX_LINES lines, and why they stay whole."""


def modules() -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each module of the product."""
    for folder in PRODUCT:
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")


def test_a_module_has_at_most_250_lines_or_a_reason_for_more() -> None:
    lines = {path: len(text.splitlines()) for path, text in modules()}

    longer = {path: count for path, count in lines.items() if count > MAX_LINES}
    assert "functions/main.py" in lines
    assert {path: count for path, count in longer.items() if path not in LONGER} == {}
    assert [path for path in LONGER if path not in longer] == []


def functions() -> Iterator[tuple[str, int]]:
    """Yield each function of the product as `path::name`, and its number of lines without its decorators."""
    for path, _ in modules():
        for node in ast.walk(tree_of(ROOT / path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path}::{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def test_no_function_has_more_than_70_lines() -> None:
    lines = list(functions())

    assert "functions/domain/rules.py::advance" in dict(lines)
    assert [one for one in lines if one[1] > MAX_FUNCTION_LINES] == []


def test_no_file_of_tests_has_more_than_500_lines() -> None:
    files = (ROOT / "tests").rglob("*.py")
    lines = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in files}

    assert "tests/unit/test_sizes.py" in lines
    assert {path: count for path, count in lines.items() if count > MAX_TEST_LINES} == {}
