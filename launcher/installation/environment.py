"""The file of the unit's environment: reads it as systemd does, and changes single variables in it.

systemd.exec(5), EnvironmentFile=. Whatever else an operator wrote in it stays as it is, comments included. What is
written here has the same meaning for a shell, because operators read the file with one, too. A comment of the file
names the variables that a pool's configuration has set, so that they go when the configuration no longer has them.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

LINE_END: Final = re.compile(r"(?<!\\)\n")
"""A backslash at the end of a line joins the next one to it."""
ASSIGNMENT: Final = re.compile(r"[ \t]*([A-Za-z_]\w*)[ \t]*=[ \t]*(.*?)\s*", re.DOTALL | re.ASCII)
PLAIN: Final = re.compile(r"[\w@%+:,./=-]*", re.ASCII)
QUOTES: Final = ("'", '"')
OF_THE_POOL: Final = "# Set by the pool's configuration: "
ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


class EnvironmentUnclear(Exception):
    """A line of the file cannot be read. The message names its variable, and repeats no value."""


def is_writable(value: str) -> bool:
    """Return whether a value can be written so that systemd and a shell read it alike."""
    return value.isprintable() and "'" not in value


@dataclass(frozen=True, slots=True)
class EnvironmentFile:
    """`text` is the whole file."""

    text: str = ""

    @property
    def variables(self) -> Mapping[str, str]:
        """Return each variable's value: the last one, if it is set several times. Raises EnvironmentUnclear."""
        return {name: value for name, value, _ in self._assignments()}

    def with_values(self, values: Mapping[str, str]) -> "EnvironmentFile":
        """Return the file with these values; a variable that it does not set is added to its end.

        Raises EnvironmentUnclear.
        """
        lines = LINE_END.split(self.text.removesuffix("\n")) if self.text else []
        found = {name: (value, number) for name, value, number in self._assignments()}
        for name, value in values.items():
            if name not in found:
                lines.append(f"{name}={_quoted(value)}")
            elif found[name][0] != value:
                lines[found[name][1]] = f"{name}={_quoted(value)}"
        return EnvironmentFile("".join(f"{line}\n" for line in lines))

    @property
    def of_the_pool(self) -> frozenset[str]:
        """Return the names of the variables that a pool's configuration has set."""
        marks = (line for line in LINE_END.split(self.text) if line.startswith(OF_THE_POOL))
        return frozenset(name for line in marks for name in line.removeprefix(OF_THE_POOL).split())

    def with_pool(self, values: Mapping[str, str]) -> "EnvironmentFile":
        """Return the file with a pool's values, and without what only the pool's configuration before had.

        Raises EnvironmentUnclear.
        """
        kept = self._without(self.of_the_pool - values.keys()).with_values(values)
        mark = f"{OF_THE_POOL}{' '.join(sorted(values))}"
        lines = [mark if line.startswith(OF_THE_POOL) else line for line in LINE_END.split(kept.text)]
        text = "\n".join(lines)
        return EnvironmentFile(text if mark in lines else f"{text}{mark}\n")

    def _without(self, names: Collection[str]) -> "EnvironmentFile":
        gone = {number for name, _, number in self._assignments() if name in names}
        lines = LINE_END.split(self.text)
        return EnvironmentFile("\n".join(line for number, line in enumerate(lines) if number not in gone))

    def _assignments(self) -> Iterator[tuple[str, str, int]]:
        """Yield the name, the value and the number of each line that sets a variable."""
        for number, line in enumerate(LINE_END.split(self.text.removesuffix("\n"))):
            if match := ASSIGNMENT.fullmatch(line):
                yield match[1], _unquoted(match[1], match[2]), number


def _quoted(value: str) -> str:
    if not is_writable(value):
        raise ValueError("the value holds a quotation mark, a line break or a control character")
    return value if PLAIN.fullmatch(value) else f"'{value}'"


def _unquoted(name: str, text: str) -> str:
    quote = text[:1] if text[:1] in QUOTES else ""
    if quote and (len(text) == 1 or not text.endswith(quote)):
        raise EnvironmentUnclear(f"{name}: its quotation does not end on its line: write the value on one line")
    inner = text[1:-1] if quote else text
    return inner if quote == "'" else ESCAPED.sub(lambda found: "" if found[1] == "\n" else found[1], inner)
