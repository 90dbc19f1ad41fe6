"""Finds the words that docs/glossary.md calls gone, and counts them: `python -m tools.words [--list] [ROOT]`.

ROOT is a checkout, by default this one; the words are always those of this one's glossary.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tools.sources import GLOSSARY, GONE_WORDS, NAMES, Found, Kind, everything

ROOT: Final = Path(__file__).parents[1]
SPAN: Final = re.compile(r"`([^`]+)`")
TOKEN: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
SEPARATOR: Final = re.compile(r"[\s_]+")


@dataclass(frozen=True, slots=True)
class Rule:
    """A word that is gone. `folder` restricts it to one folder; `whole` to names that are nothing but the word."""

    word: str
    kinds: frozenset[Kind]
    instead: str
    fine: tuple[str, ...] = ()
    folder: str = ""
    whole: bool = False

    def lines(self, found: Found) -> Iterator[int]:
        """Yield the line of each use of the word in what was found."""
        if found.kind not in self.kinds or not found.path.startswith(self.folder):
            return
        if found.kind is Kind.PROSE:
            for use in re.finditer(self.phrase, found.text, re.IGNORECASE):
                yield found.line + found.text.count("\n", 0, use.start())
        elif not self._is_fine(found) and self._in_name(found.text.strip("_")):
            yield found.line

    def _is_fine(self, found: Found) -> bool:
        return found.text in self.fine or f"{found.owner}.{found.text}" in self.fine

    @property
    def phrase(self) -> str:
        """The regular expression of its use in prose."""
        return r"\b" + r"\s+".join(re.escape(part) for part in SEPARATOR.split(self.word)) + r"\b"

    def _in_name(self, name: str) -> bool:
        if self.word.endswith("*"):
            return name.startswith(self.word[:-1])
        if self.whole or not self.word.islower():
            return name == self.word
        padded = "_".join(["", *tokens(name), ""])
        for longer in self.fine:
            padded = padded.replace(f"_{longer}_", "_")
        return f"_{self.word}_" in padded


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a word that is gone."""

    rule: Rule
    found: Found
    line: int

    def __str__(self) -> str:
        shown = f"`{self.found.text}`" if self.found.kind is not Kind.PROSE else f"“{self._text()}”"
        return (
            f"{self.found.path}:{self.line}: {self.rule.word} ({self.found.kind}): {shown}: write {self.rule.instead}"
        )

    def _text(self) -> str:
        line = self.found.text.splitlines()[self.line - self.found.line]
        return " ".join(line.split())[:90]


@cache
def tokens(name: str) -> Sequence[str]:
    """Return the words of a name, in lower case: `wishGone` and `WISH_GONE` are `wish`, `gone`."""
    return tuple(token.lower() for token in TOKEN.findall(name))


def rules(page: str) -> list[Rule]:
    """Return the rules of the glossary's last table."""
    rows = [line.split("|")[1:-1] for line in page[page.index(GONE_WORDS) :].splitlines() if line.startswith("| `")]
    return [rule for row in rows for rule in _rules([cell.strip() for cell in row])]


def gone(root: Path, page: str) -> Iterator[Use]:
    """Yield each use of a word that is gone."""
    wanted = rules(page)
    of_kind = {kind: [rule for rule in wanted if kind in rule.kinds] for kind in Kind}
    any_phrase = re.compile("|".join(rule.phrase for rule in of_kind[Kind.PROSE]), re.IGNORECASE)
    for found in everything(root):
        if found.kind is Kind.PROSE and any_phrase.search(found.text) is None:
            continue
        for rule in of_kind[found.kind]:
            for line in rule.lines(found):
                yield Use(rule, found, line)


def _rules(row: Sequence[str]) -> Iterator[Rule]:
    words, where, instead, fine = row
    whole = where.startswith("whole ")
    kinds, _, folder = where.removeprefix("whole ").partition(" in ")
    named = [kind.strip() for kind in kinds.split(",")]
    allowed = frozenset().union(*(NAMES if kind == "names" else {Kind(kind)} for kind in named))
    for word in SPAN.findall(words):
        yield Rule(word, frozenset(allowed), instead, tuple(SPAN.findall(fine)), f"{folder}/" if folder else "", whole)


def main(arguments: Sequence[str]) -> int:
    root = Path(next((one for one in arguments if not one.startswith("-")), ROOT))
    uses = [*gone(root, (ROOT / GLOSSARY).read_text(encoding="utf-8"))]
    counts = Counter(use.rule.word for use in uses)
    lines = [str(use) for use in uses] if "--list" in arguments else []
    lines += [f"{count:5}  {word}" for word, count in counts.most_common()] + [f"{len(uses):5}  in all"]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 1 if uses else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
