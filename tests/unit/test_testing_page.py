"""docs/testing.md names only guards, tests, crash points and invariants that exist, and can be read in an editor."""

import re
from pathlib import Path
from typing import Final

import pytest

from tools.guards import PAGE, ROOT, entries, stale

INVARIANT: Final = re.compile(r"^(\d)\. \*\*", re.MULTILINE)
MAX_LINE_LENGTH: Final = 120
PAGES: Final = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
HEAD: Final = "## Guards, and the tests that fail without them\n\n### Leases\n\n"
GOOD: Final = f"""{HEAD}- `functions/domain/rules.py::RULES` (2): No rule leads out of a final state.
  Broken: a rule was added.
  - `test_lifecycle.py::test_no_rule_leads_out_of_a_final_state`
  - `test_crash_points.py` at `CREATE_STORED`
"""


def test_every_guard_test_and_crash_point_that_the_page_names_exists() -> None:
    problems = stale(_page(), ROOT)

    assert problems == [], "\n".join(["", *problems])


def test_each_invariant_has_a_number_of_its_own_and_each_guard_serves_at_least_one() -> None:
    numbers = INVARIANT.findall(_page())

    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    assert {number for entry in entries(_page()) for number in entry.invariants} == set(numbers)


def test_every_entry_names_the_tests_that_failed_or_says_which_state_machine_did() -> None:
    page = _page().splitlines()

    for entry in entries(_page()):
        assert entry.tests or "  - state machine over memory" in page[entry.line : entry.line + 4], entry


def test_no_guard_has_two_entries() -> None:
    seen = [(entry.text, entry.tests, entry.points) for entry in entries(_page())]

    assert [entry for entry in seen if seen.count(entry) > 1] == []


@pytest.mark.parametrize(
    ("right", "wrong", "problem"),
    [
        ("rules.py::RULES", "rules.py::RULLES", "the file does not define it"),
        (
            "domain/rules.py",
            "domain/sweep.py",
            "there is no such file; perhaps functions/domain/rules.py::RULES",
        ),
        ("rules.py::RULES", "rules.py", "name what guards, as path::name"),
        ("::test_no_rule_leads_out", "::test_no_rule_led_out", "perhaps test_no_rule_leads_out_of_a_final_state"),
        ("test_lifecycle.py::", "test_life.py::", "perhaps test_lifecycle.py::test_no_rule_leads_out_of_a_final_state"),
        ("CREATE_STORED", "CREATE_STOLEN", "shared/crash_points.py has no such point"),
    ],
)
def test_a_stale_entry_is_named_with_its_line_and_where_it_may_be_now(right: str, wrong: str, problem: str) -> None:
    assert stale(GOOD, ROOT) == []

    found = stale(GOOD.replace(right, wrong), ROOT)

    assert len(found) == 1
    assert found[0].startswith(f"{PAGE}:5: ")
    assert problem in found[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_can_be_read_in_an_editor(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()

    assert [line for line in lines if len(line) > MAX_LINE_LENGTH and not line.startswith("|")] == []


def _page() -> str:
    return (ROOT / PAGE).read_text(encoding="utf-8")
