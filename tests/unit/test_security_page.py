"""docs/security.md lists each threat with the guard that stops it, and the tests that fail without the guard."""

from typing import Final

from tools.guards import ROOT, SPAN, defined, names_of_tests, wrong_guard, wrong_test

PAGE: Final = ROOT / "docs" / "security.md"
COLUMNS: Final = 4
"""Number, threat, guards, tests."""


def test_every_guard_and_every_test_that_the_page_names_exists() -> None:
    names = defined(ROOT)
    tests = names_of_tests(names)

    wrong = [
        f"{number}: `{span}`: {problem}"
        for number, _, guards, proofs in _rows()
        for span, problem in (
            *((guard, wrong_guard(guard, names, ROOT)) for guard in SPAN.findall(guards)),
            *((proof, wrong_test(*_test(proof), tests)) for proof in SPAN.findall(proofs)),
        )
        if problem is not None
    ]

    assert wrong == [], "\n".join(["", *wrong])


def test_every_threat_has_a_number_of_its_own_a_guard_and_a_test() -> None:
    rows = _rows()
    numbers = [number for number, *_ in rows]

    assert len(set(numbers)) == len(numbers)
    assert [number for number, _, guards, proofs in rows if not (SPAN.search(guards) and SPAN.search(proofs))] == []


def test_every_threat_is_a_sentence() -> None:
    assert [
        threat for _, threat, _, _ in _rows() if not (threat[0] in "`ABCDEFGHIJKLMNOPQRSTUVWXYZ" and threat[-1] == ".")
    ] == []


def test_the_page_lists_every_test_of_security() -> None:
    listed = {_test(proof) for _, _, _, proofs in _rows() for proof in SPAN.findall(proofs)}
    folder = ROOT / "tests" / "security"
    exist = {
        (path.rpartition("/")[2], name)
        for path, inside in defined(ROOT).items()
        if (ROOT / path).is_relative_to(folder)
        for name in inside
        if name.startswith("test_")
    }

    assert sorted(exist - listed) == []


def _test(proof: str) -> tuple[str, str]:
    module, _, test = proof.partition("::")
    return module, test


def _rows() -> list[list[str]]:
    """Return the cells of the page's tables of threats."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| S")]
    assert [row for row in rows if len(row) != COLUMNS] == []
    return rows
