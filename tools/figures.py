"""Prints how long the product's files and functions are, folder by folder: `python -m tools.figures [ROOT]`.

ROOT is a checkout, by default this one. A function's lines are counted from its `def` to its end, without decorators.
"""

import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

PRODUCT: Final = ("cli", "deploy", "emulators", "functions", "launcher", "shared", "worker")
HEAD: Final = "| folder | files | lines | median | p90 | functions | median | p90 | private | called once |"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Module:
    """A source file. `private` are the module's own functions whose names begin with an underscore."""

    folder: str
    path: Path
    lines: int
    functions: tuple[int, ...]
    private: tuple[str, ...]
    called_once: tuple[str, ...]
    classes: tuple[str, ...]


def read(root: Path) -> list[Module]:
    """Return every product module that has more than a docstring."""
    files = sorted(file for folder in PRODUCT for file in (root / folder).rglob("*.py"))
    modules = [_module(root, file) for file in files]
    return [module for module in modules if module is not None]


def rows(modules: Sequence[Module]) -> list[str]:
    """Return one row of figures a folder, and one of all."""
    folders: dict[str, list[Module]] = defaultdict(list)
    for module in modules:
        folders[module.folder].append(module)
    named = [*sorted(folders.items()), ("all", list(modules))]
    return [HEAD, "|---" * 10 + "|", *(_row(name, inside) for name, inside in named)]


def shared_names(modules: Iterable[Module]) -> dict[str, list[str]]:
    """Return each class name that more than one module defines, with the modules."""
    where: dict[str, list[str]] = defaultdict(list)
    for module in modules:
        for name in module.classes:
            where[name].append(str(module.path))
    return {name: paths for name, paths in sorted(where.items()) if len(paths) > 1}


def _module(root: Path, file: Path) -> Module | None:
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    if not [node for node in tree.body if not isinstance(node, ast.Expr)]:
        return None
    nodes = [*ast.walk(tree)]
    calls = Counter(node.id for node in nodes if isinstance(node, ast.Name))
    private = tuple(node.name for node in tree.body if isinstance(node, Function) and node.name.startswith("_"))
    return Module(
        folder="/".join(file.parent.relative_to(root).parts[:2]),
        path=file.relative_to(root),
        lines=len(text.splitlines()),
        functions=tuple((node.end_lineno or 0) - node.lineno + 1 for node in nodes if isinstance(node, Function)),
        private=private,
        called_once=tuple(name for name in private if calls[name] == 1),
        classes=tuple(node.name for node in tree.body if isinstance(node, ast.ClassDef)),
    )


def _row(name: str, modules: Sequence[Module]) -> str:
    files = [module.lines for module in modules]
    functions = [lines for module in modules for lines in module.functions]
    figures = [
        len(files),
        sum(files),
        *_spread(files),
        len(functions),
        *_spread(functions),
        sum(len(module.private) for module in modules),
        sum(len(module.called_once) for module in modules),
    ]
    return f"| {name} | " + " | ".join(f"{figure:g}" for figure in figures) + " |"


def _spread(lengths: Sequence[int]) -> tuple[float, float]:
    """Return the median and the 90th percentile."""
    ordered = sorted(lengths)
    return (median(ordered), ordered[(len(ordered) * 9) // 10]) if ordered else (0, 0)


def main(root: Path) -> None:
    modules = read(root)
    sys.stdout.write("\n".join(rows(modules)) + "\n\nclasses that share a name:\n")
    for name, paths in shared_names(modules).items():
        sys.stdout.write(f"  {name}: {', '.join(paths)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parents[1])
