"""docs/security.md lists each threat with the guard that stops it, and the tests that fail without the guard."""

import re
from dataclasses import dataclass
from typing import Final

from tools.guards import ROOT, SPAN, defined, names_of_tests, wrong_guard, wrong_test

PAGE: Final = ROOT / "docs" / "security.md"
GUARDS_BEGIN: Final = "## Guards"
ENTRY: Final = re.compile(
    r"- (S\w+): (.+?)\n"
    r"  Guards: (`[^`]+`(?:,\s+`[^`]+`)*)\n"
    r"((?:  - `test_\w+\.py`(?::\s+`test_\w+`(?:,\s+`test_\w+`)*)?\n)+)",
    re.DOTALL,
)
"""Number, threat, guards, and a line for each file with its tests."""


@dataclass(frozen=True, slots=True)
class Threat:
    """One threat of the page. `tests` are (file, test); the test is empty if the page names the file alone."""

    number: str
    text: str
    guards: tuple[str, ...]
    tests: tuple[tuple[str, str], ...]


def test_every_guard_and_every_test_that_the_page_names_exists() -> None:
    names = defined(ROOT)
    tests = names_of_tests(names)

    wrong = [
        f"{threat.number}: `{name}`: {problem}"
        for threat in _threats()
        for name, problem in (
            *((guard, wrong_guard(guard, names, ROOT)) for guard in threat.guards),
            *((f"{file}::{test}", wrong_test(file, test, tests)) for file, test in threat.tests),
        )
        if problem is not None
    ]

    assert wrong == [], "\n".join(["", *wrong])


def test_every_threat_has_a_number_of_its_own_a_guard_and_a_test() -> None:
    numbers = [threat.number for threat in _threats()]

    assert "S104" in numbers
    assert len(set(numbers)) == len(numbers)
    assert [threat.number for threat in _threats() if not (threat.guards and threat.tests)] == []


def test_every_threat_is_a_sentence() -> None:
    texts = [threat.text for threat in _threats()]

    assert [text for text in texts if not (text[0] in "`ABCDEFGHIJKLMNOPQRSTUVWXYZ" and text[-1] == ".")] == []


def test_the_page_lists_every_test_of_security() -> None:
    listed = {test for threat in _threats() for test in threat.tests}
    folder = ROOT / "tests" / "security"
    exist = {
        (path.rpartition("/")[2], name)
        for path, inside in defined(ROOT).items()
        if (ROOT / path).is_relative_to(folder)
        for name in inside
        if name.startswith("test_")
    }

    assert sorted(exist - listed) == []


def _threats() -> list[Threat]:
    """Return the threats of the page. An entry of another form is an error."""
    page = PAGE.read_text(encoding="utf-8")
    listed = page[page.index(GUARDS_BEGIN) :]
    entries = re.findall(r"^(?:- |\| S).*\n(?:  .*\n)*", listed, re.MULTILINE)  # a row of a table is none
    read = [ENTRY.fullmatch(entry) for entry in entries]
    assert [entry for entry, found in zip(entries, read, strict=True) if found is None] == []
    return [_threat(*found.groups()) for found in read if found is not None]


def _threat(number: str, text: str, guards: str, tests: str) -> Threat:
    by_file = [SPAN.findall(line) for line in re.split(r"^  - ", tests, flags=re.MULTILINE)[1:]]
    proofs = tuple((file, test) for file, *names in by_file for test in names or [""])
    return Threat(number, " ".join(text.split()), tuple(SPAN.findall(guards)), proofs)
