"""How words that are gone are found: in which names, in which prose, and in which sense."""

import pytest

from tools.sources import GLOSSARY, Kind, everything, in_page, in_python, in_terraform
from tools.words import ROOT, Rule, Use, rules, tokens

PAGE = """## Words that are gone

| gone | where | instead | fine |
|---|---|---|---|
| `wish`, `seen_to` | names, prose | cancellation | `wish_list` |
| `told` | names | report | `Line.told` |
| `Trace` | classes | `ProcessState` | |
| `MOST_*`, `ENOUGH` | constants | `MAX_…` | |
| `read` | whole functions in functions/apis | `get_…` | |
"""


def found_in(source: str, path: str = "launcher/machines/port.py") -> list[tuple[str, int]]:
    """Return the gone words of a module, each with its line."""
    return [
        (rule.word, line) for found in in_python(path, source) for rule in rules(PAGE) for line in rule.lines(found)
    ]


@pytest.mark.parametrize(
    ("name", "words"),
    [("wishGone", ["wish", "gone"]), ("_WISH_GONE2", ["wish", "gone", "2"]), ("QMPError", ["qmp", "error"])],
)
def test_a_name_is_divided_into_its_words(name: str, words: list[str]) -> None:
    assert [*tokens(name)] == words


@pytest.mark.parametrize(
    "source",
    [
        "class WishGone: pass",
        "def wish_gone() -> None: ...",
        "def f(a_wish: str) -> None: ...",
        "def f(**wish: str) -> None: ...",
        "class A:\n    wish: str",
        "class A:\n    def f(self) -> None:\n        self._wish = 1",
        "NO_WISH = 1",
        '"""The client\'s wish."""',
        "A = 1\n'''A Wish.'''",
        "A = 1  # his wish",
        "raise E('It has a wish.')",
        "raise E(f'It has {a} wish.')",
    ],
)
def test_a_word_is_found_in_each_kind_of_name_in_docstrings_comments_and_sentences(source: str) -> None:
    assert [word for word, _ in found_in(source)] == ["wish"]


@pytest.mark.parametrize(
    "source",
    [
        "wishful = 1",
        "WISH_LIST = 1",
        "def f() -> None:\n    wish = 1",
        "a.wish()",
        '"""Sets `wish`."""',
        '"""He was told."""',
        "class Line:\n    told: str",
        "def trace() -> None: ...",
        "class Traces: ...",
        "ENOUGH_ROOM = 1",
        "def read() -> None: ...",
    ],
)
def test_nothing_else_is_found(source: str) -> None:
    assert found_in(source) == []


def test_a_constant_is_matched_by_its_beginning_or_as_a_whole() -> None:
    assert found_in("MOST_HELD = 1\nENOUGH = 2") == [("MOST_*", 1), ("ENOUGH", 2)]


def test_a_rule_of_one_folder_holds_there_and_for_the_whole_name_only() -> None:
    source = "def read() -> None: ...\ndef read_body() -> None: ..."

    assert found_in(source, "functions/apis/v1/orders.py") == [("read", 1)]


def test_a_phrase_is_found_across_a_line_break_and_shown_with_the_line_on_which_it_begins() -> None:
    found = next(iter(in_page("docs/a.md", "# Title\n\nAll orders are seen\nto in turn, `seen_to`.\n\n    seen to\n")))
    rule = Rule("seen_to", frozenset({Kind.PROSE}), "handle")

    assert [str(Use(rule, found, line)) for line in rule.lines(found)] == [
        "docs/a.md:3: seen_to (prose): “All orders are seen”: write handle"
    ]


def test_the_name_of_a_test_is_a_sentence() -> None:
    assert found_in("def test_it_is_told_of_a_wish() -> None: ...", "tests/unit/test_a.py") == [("wish", 1)]


def test_the_glossary_has_rules_and_the_repository_something_to_hold_to_each() -> None:
    wanted = rules((ROOT / GLOSSARY).read_text(encoding="utf-8"))
    kinds = {found.kind for found in everything(ROOT)}

    assert len({(rule.word, rule.folder, rule.kinds) for rule in wanted}) == len(wanted)
    assert {kind for rule in wanted for kind in rule.kinds} == kinds == set(Kind)


def test_comments_and_sentences_of_terraform_are_read() -> None:
    text = (
        'variable "size" {\n  # How large it is.\n  description = "A wish of \\"ours\\"."\n  default     = "small"\n}\n'
    )

    assert [(found.line, found.text) for found in in_terraform("infra/a.tf", text)] == [
        (2, "# How large it is."),
        (3, '"A wish of \\"ours\\"."'),
    ]


def test_the_changelog_and_terraforms_files_are_read() -> None:
    paths = {found.path for found in everything(ROOT)}

    assert "CHANGELOG.md" in paths
    assert {path.rpartition("/")[2] for path in paths if path.startswith("infra/")} >= {"variables.tf", "outputs.tf"}
