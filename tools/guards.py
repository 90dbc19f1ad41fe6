"""Reads the guards of docs/testing.md, and finds those that the code no longer has: `python -m tools.guards`."""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Final

from shared.crash_points import Point
from tools.sources import tree_of

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = Path("docs/testing.md")
FOLDERS: Final = ("cli", "deploy", "emulators", "functions", "launcher", "shared", "tests", "tools", "worker")
GUARDS_BEGIN: Final = "## Guards,"
GUARD_LINE: Final = re.compile(r"- (`[^`]+`(?:,\s+`[^`]+`)*) \((\d(?:, \d)*)\): ")
SPAN: Final = re.compile(r"`([^`]+)`")
TEST_LIST: Final = re.compile(r"^  - ", re.MULTILINE)
TEST_FILE: Final = re.compile(r"test_\w+\.py")
SUGGESTIONS: Final = 4

Names = Mapping[str, frozenset[str]]
"""The names that each file defines, by its path: `function`, `Class`, `Class.method`, `Class.field`, `CONSTANT`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One guard of the page. `tests` are (file, test); the test is empty if the page names the file alone."""

    line: int
    guards: tuple[str, ...]
    invariants: tuple[str, ...]
    text: str
    tests: tuple[tuple[str, str], ...]
    points: tuple[str, ...]


def entries(page: str) -> list[Entry]:
    """Return the guards of the page, in its order."""
    start = page.index(GUARDS_BEGIN)
    begins = [found.start() for found in re.finditer(r"^- `", page[start:], re.MULTILINE)]
    ends = [*begins[1:], len(page) - start]
    blocks = [(start + begin, page[start + begin : start + end]) for begin, end in zip(begins, ends, strict=True)]
    return [_entry(page.count("\n", 0, at) + 1, re.split(r"\n\n", block)[0]) for at, block in blocks]


@cache
def defined(root: Path) -> Names:
    """Return the names that each Python file of the repository defines."""
    files = [file for folder in FOLDERS for file in sorted((root / folder).rglob("*.py"))]
    return {str(file.relative_to(root)): frozenset(_names(tree_of(file).body)) for file in files}


def stale(page: str, root: Path) -> list[str]:
    """Return one sentence for each guard, test or crash point that the page names and the repository does not have."""
    names = defined(root)
    return [problem for entry in entries(page) for problem in _problems(entry, names, root)]


def _entry(line: int, block: str) -> Entry:
    head = GUARD_LINE.match(block)
    if head is None:
        raise ValueError(f"{PAGE}:{line}: write a guard as: - `path::name` (invariants): what it does")
    listed = TEST_LIST.search(block)
    text, proof = (block[: listed.start()], block[listed.start() :]) if listed else (block, "")
    tests, points, module = [], [], ""
    for span in SPAN.findall(proof):
        if span.isupper():
            points.append(span)
        elif TEST_FILE.match(span):
            module, _, test = span.partition("::")
            tests.append((module, test))
        elif span.startswith("test_"):
            tests.append((module, span))
    guards = tuple(SPAN.findall(head[1]))
    return Entry(line, guards, tuple(head[2].split(", ")), " ".join(text.split()), tuple(tests), tuple(points))


def _problems(entry: Entry, names: Names, root: Path) -> Iterator[str]:
    for guard in entry.guards:
        if (problem := wrong_guard(guard, names, root)) is not None:
            yield f"{PAGE}:{entry.line}: guard `{guard}`: {problem}"
    tests = names_of_tests(names)
    for module, test in entry.tests:
        if (problem := wrong_test(module, test, tests)) is not None:
            yield f"{PAGE}:{entry.line}: test `{module}::{test}`: {problem}"
    for point in entry.points:
        if point not in Point.__members__:
            yield f"{PAGE}:{entry.line}: `{point}`: shared/crash_points.py has no such point"


def names_of_tests(names: Names) -> Mapping[str, set[str]]:
    """Return the names that each file of tests defines, by the file's name."""
    tests: dict[str, set[str]] = defaultdict(set)
    for path, inside in names.items():
        if path.startswith("tests/"):
            tests[path.rpartition("/")[2]] |= inside
    return tests


def wrong_guard(guard: str, names: Names, root: Path) -> str | None:
    """Return what is wrong with a guard that a page names (`path::name`, or a file that is no Python); None if it
    exists.
    """
    path, _, name = guard.partition("::")
    if not path.endswith(".py"):
        return None if not name and (root / path).is_file() else "there is no such file"
    if not name:
        return "name what guards, as path::name"
    if name in names.get(path, frozenset()):
        return None
    what = "the file does not define it" if path in names else "there is no such file"
    short = name.rpartition(".")[2]
    found = [
        f"{other}::{one}"
        for other, inside in names.items()
        for one in sorted(inside)
        if one.rpartition(".")[2] == short and other.startswith(("tests/",)) == path.startswith(("tests/",))
    ]
    return f"{what}{_suggest(found)}"


def wrong_test(module: str, test: str, tests: Mapping[str, set[str]]) -> str | None:
    """Return what is wrong with a test that a page names; None if it exists. `test` may be empty."""
    if module not in tests:
        found = [f"{other}::{test}" for other, inside in tests.items() if test in inside]
        return f"there is no such file{_suggest(found)}"
    if not test or test in tests[module]:
        return None
    found = [f"{other}::{test}" for other, inside in tests.items() if test in inside]
    every = sorted(one for inside in tests.values() for one in inside if one.startswith("test_"))
    close = get_close_matches(test, every, n=2, cutoff=0.7)
    return f"the file does not define it{_suggest(found or close)}"


def _suggest(found: list[str]) -> str:
    return f"; perhaps {', '.join(found[:SUGGESTIONS])}" if found else ""


def _names(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield prefix + name
                if prefix and name == "__init__":
                    yield from (prefix + attribute for attribute in _attributes(node))
            case ast.ClassDef(name=name):
                yield prefix + name
                yield from _names(node.body, f"{prefix}{name}.")
            case ast.Assign(targets=targets):
                yield from (prefix + target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield prefix + name


def _attributes(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """Yield the attributes that a constructor sets."""
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


if __name__ == "__main__":
    problems = stale((ROOT / PAGE).read_text(encoding="utf-8"), ROOT)
    sys.stdout.write("".join(f"{problem}\n" for problem in problems))
    sys.exit(1 if problems else 0)
