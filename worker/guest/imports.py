"""Reads import statements: which modules a file imports, and which files of the project a program loads."""

import ast
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path


def closure(files: Iterable[Path], packages: Collection[str], project: Path) -> list[Path]:
    """Return these files, and those of the project's `packages` that they load, directly or not; sorted.

    Imports inside functions count; those for type checkers only do not.
    """
    waiting, found = list(files), set[Path]()
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            for module in modules(ast.parse(file.read_bytes())):
                if module[0] in packages:
                    waiting.extend(_files(module, project))
    return sorted(found)


def modules(tree: ast.AST) -> Iterator[tuple[str, ...]]:
    """Yield the path of each imported module; the last component may be a name inside it. Skip `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((*node.module.split("."), alias.name) for alias in node.names)
        else:
            yield from modules(node)


def _files(module: tuple[str, ...], project: Path) -> Iterator[Path]:
    """Yield the module's file, and those of the packages that it is in."""
    for length in range(1, len(module) + 1):
        path = project.joinpath(*module[:length])
        yield from (file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists())
