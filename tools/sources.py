"""Finds the names that the repository defines and the prose that it contains, each with its line."""

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Final

PRODUCT: Final = ("bench", "cli", "deploy", "emulators", "functions", "launcher", "shared", "tools", "worker")
TESTS: Final = "tests"
GLOSSARY: Final = Path("docs/glossary.md")
GONE_WORDS: Final = "## Words that are gone"
"""The heading from which on the glossary is no prose."""
OPENAPI: Final = Path("docs/openapi.json")
INFRA: Final = "infra"
TERRAFORM_PROSE: Final = re.compile(r'"(?:[^"\\]|\\.)*"|#.*')
CODE: Final = re.compile(r"``.+?``|`[^`]*`|\]\([^)]*\)|https?://\S+", re.DOTALL)


class Kind(StrEnum):
    """Where a word can be: in a name of one of these kinds, or in prose."""

    MODULE = "modules"
    CLASS = "classes"
    FUNCTION = "functions"
    PARAMETER = "parameters"
    FIELD = "fields"
    CONSTANT = "constants"
    PROSE = "prose"


NAMES: Final = frozenset(Kind) - {Kind.PROSE}


@dataclass(frozen=True, slots=True)
class Found:
    """A name, or a piece of prose, and where it is. `owner` is the class of a field."""

    path: str
    line: int
    kind: Kind
    text: str
    owner: str = ""


@cache
def tree_of(file: Path) -> ast.Module:
    """Return the syntax tree of a module. A process parses each module once."""
    return ast.parse(file.read_bytes())


@cache
def everything(root: Path) -> Sequence[Found]:
    """Return each name and each piece of prose that is held to the rules."""
    return tuple(_everything(root))


def _everything(root: Path) -> Iterator[Found]:
    for folder in (*PRODUCT, TESTS):
        for file in sorted((root / folder).rglob("*.py")):
            yield from _in_module(str(file.relative_to(root)), file.read_text(encoding="utf-8"), tree_of(file))
    for page in [root / "README.md", root / "CHANGELOG.md", *sorted((root / "docs").glob("*.md"))]:
        yield from in_page(str(page.relative_to(root)), page.read_text(encoding="utf-8"))
    for file in sorted((root / INFRA).rglob("*.tf")):
        yield from in_terraform(str(file.relative_to(root)), file.read_text(encoding="utf-8"))
    yield from in_openapi((root / OPENAPI).read_text(encoding="utf-8"))


def in_python(path: str, text: str) -> Iterator[Found]:
    """Yield the names that a module defines, its docstrings and comments, and, in the product, its sentences."""
    return _in_module(path, text, ast.parse(text))


def _in_module(path: str, text: str, tree: ast.Module) -> Iterator[Found]:
    for folder_or_file in Path(path).with_suffix("").parts[1:]:
        yield Found(path, 1, Kind.MODULE, folder_or_file)
    yield from _names(path, tree)
    for line, prose in _docstrings(tree):
        yield Found(path, line, Kind.PROSE, _without_code(prose))
    if not path.startswith(TESTS):
        for line, sentence in _sentences(tree):
            yield Found(path, line, Kind.PROSE, _without_code(sentence))
    tokens = tokenize.generate_tokens(io.StringIO(text).readline) if "#" in text else ()  # it reads slowly
    for token in tokens:
        if token.type == tokenize.COMMENT:
            yield Found(path, token.start[0], Kind.PROSE, _without_code(token.string))


def in_page(path: str, text: str) -> Iterator[Found]:
    """Yield the prose of a Markdown page, without code and without the table of the words that are gone."""
    lines, fenced = [], False
    for line in text.partition(GONE_WORDS)[0].splitlines():
        fenced ^= line.startswith("```")
        lines.append("" if fenced or line.startswith("    ") else line)
    yield Found(path, 1, Kind.PROSE, _without_code("\n".join(lines)))


def in_terraform(path: str, text: str) -> Iterator[Found]:
    """Yield the comments and the strings of more than one word, which are descriptions and error messages."""
    for number, line in enumerate(text.splitlines(), start=1):
        for prose in TERRAFORM_PROSE.findall(line):
            if " " in prose.strip():
                yield Found(path, number, Kind.PROSE, _without_code(prose))


def in_openapi(text: str) -> Iterator[Found]:
    """Yield the document's summaries and descriptions, and its operation ids: they are functions' names."""
    lines = text.splitlines()

    def line_of(value: str) -> int:
        written = json.dumps(value, ensure_ascii=False)
        return next((number for number, line in enumerate(lines, start=1) if written in line), 1)

    def visit(node: Any) -> Iterator[Found]:
        if isinstance(node, list):
            for item in node:
                yield from visit(item)
        elif isinstance(node, dict):
            for key, value in node.items():
                if key in ("summary", "description") and isinstance(value, str):
                    yield Found(str(OPENAPI), line_of(value), Kind.PROSE, _without_code(value).replace("\n", " "))
                elif key == "operationId":
                    for name in value.split("."):
                        yield Found(str(OPENAPI), line_of(value), Kind.FUNCTION, name)
                else:
                    yield from visit(value)

    yield from visit(json.loads(text))


def _names(path: str, tree: ast.Module) -> Iterator[Found]:
    def visit(node: ast.AST, owner: str, function: bool) -> Iterator[Found]:
        for child in ast.iter_child_nodes(node):
            match child:
                case ast.ClassDef(name=name):
                    yield Found(path, child.lineno, Kind.PROSE if name.startswith("Test") else Kind.CLASS, name)
                    yield from visit(child, name, False)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    yield _function(path, child.lineno, name)
                    arguments = child.args
                    rest = [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
                    for one in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *rest]:
                        yield Found(path, one.lineno, Kind.PARAMETER, one.arg)
                    yield from visit(child, owner, True)
                case ast.Attribute(attr=name, ctx=ast.Store(), value=ast.Name(id="self")):
                    yield Found(path, child.lineno, Kind.FIELD, name, owner)
                case ast.Name(id=name, ctx=ast.Store()) if not function:
                    constant = name.isupper()
                    yield Found(path, child.lineno, Kind.CONSTANT if constant else Kind.FIELD, name, owner)
                case _:
                    yield from visit(child, owner, function)

    yield from visit(tree, "", False)


def _function(path: str, line: int, name: str) -> Found:
    """A test's name is a sentence."""
    if name.startswith("test_"):
        return Found(path, line, Kind.PROSE, name.replace("_", " "))
    return Found(path, line, Kind.FUNCTION, name)


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield every string that stands alone: the docstrings, and those below a constant or a field."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text)), lineno=line):
                yield line, text


def _sentences(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the other strings of more than one word; one with values in it as a whole, with … for each."""
    inner = {
        id(part) for node in ast.walk(tree) if isinstance(node, (ast.JoinedStr, ast.Expr)) for part in _inside(node)
    }
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values=values, lineno=line):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in values)
            case ast.Constant(value=str(text), lineno=line) if id(node) not in inner:
                pass
            case _:
                continue
        if " " in text.strip():
            yield line, text


def _inside(node: ast.JoinedStr | ast.Expr) -> list[ast.expr]:
    return node.values if isinstance(node, ast.JoinedStr) else [node.value]


def _without_code(text: str) -> str:
    """Return the text with code and links blanked out, line for line."""
    return CODE.sub(lambda code: re.sub(r"[^\n]", " ", code[0]), text)
