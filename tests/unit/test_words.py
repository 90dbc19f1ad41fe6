"""The words that docs/glossary.md calls gone are gone from names and prose."""

from tools.sources import GLOSSARY
from tools.words import ROOT, gone


def test_no_name_and_no_prose_has_a_word_that_is_gone() -> None:
    uses = [str(use) for use in gone(ROOT, (ROOT / GLOSSARY).read_text(encoding="utf-8"))]

    assert uses == [], "\n".join(["", *uses])
