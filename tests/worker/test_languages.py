"""A record names a language by its ISO 639-2/B code, however the source writes it."""

import pytest

from worker.mods.languages import CODES, TERMINOLOGY, iso639_2b


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("en", "eng"),
        ("pt-BR", "por"),
        ("zh_Hant", "chi"),
        ("eng", "eng"),
        ("fra", "fre"),
        ("fre", "fre"),
        ("deu", "ger"),
        ("ger", "ger"),
        ("zho", "chi"),
        ("DEU-AT", "ger"),
        (" grc ", "grc"),
    ],
)
def test_a_tag_or_a_three_letter_code_becomes_the_bibliographic_code(tag: str, code: str) -> None:
    assert iso639_2b(tag) == code


@pytest.mark.parametrize("tag", ["", "French", "xx", "cmn", "qqq"])
def test_a_language_without_a_standard_code_has_none(tag: str) -> None:
    assert iso639_2b(tag) is None


def test_every_code_stands_for_itself() -> None:
    assert all(CODES[code] == code for code in CODES.values())


def test_all_twenty_terminology_codes_are_known_and_none_is_an_answer() -> None:
    pairs = dict(pair.split(":") for pair in TERMINOLOGY.split())
    assert len(pairs) == 20
    assert not pairs.keys() & set(CODES.values())
    assert set(pairs.values()) <= set(CODES.values())
