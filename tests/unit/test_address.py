"""Addresses in settings: what is refused, and in which words."""

from typing import Final

import pytest
from pydantic import TypeAdapter, ValidationError

from shared.address import ControlPlaneUrl

ADDRESS: Final = TypeAdapter[str](ControlPlaneUrl)
LABEL: Final = "x" * 64


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("https://control-plane.example", "https://control-plane.example"),
        ("https://control-plane.example/\n", "https://control-plane.example"),
        (" http://127.0.0.1:8080\r\n", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://gateway.example/launchyard/", "https://gateway.example/launchyard"),
    ],
)
def test_blanks_around_an_address_and_its_last_slash_are_removed(written: str, meant: str) -> None:
    assert ADDRESS.validate_python(written) == meant


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("", "begin with http"),
        ("control-plane.example", "begin with http"),
        ("htp://control-plane.example", "begin with http"),
        ('"https://control-plane.example"', "without quotes"),
        ("“https://control-plane.example”", "without quotes"),
        ("https://control-plane.example”", "misspelt"),
        ("https://", "names no host"),
        ("https://:8080", "names no host"),
        ("https://a..example", "misspelt"),
        (f"https://{LABEL}.example", "misspelt"),
        ("https://control-plane.example:port", "misspelt"),
        ("https://control-plane.example:99999", "ports go from 1 to 65535"),
        ("https://control-plane.example:0", "ports go from 1 to 65535"),
        ("https://[::1", "misspelt"),
        ("https://control plane.example", "a blank"),
        ("https://control-plane.example\nx", "a blank"),
        ("https://user:canary@control-plane.example", "a user or a password"),
        ("https://canary@control-plane.example", "a user or a password"),
        ("https://control-plane.example?key=canary", "a query"),
        ("https://control-plane.example/#canary", "a fragment"),
        ("https://control-plane.example/v1", "ends in /v1"),
        ("https://control-plane.example/v1/", "ends in /v1"),
    ],
)
def test_an_address_that_no_request_could_use_is_refused_and_not_repeated(wrong: str, message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ADDRESS.validate_python(wrong)

    [error] = refused.value.errors(include_input=False)
    assert message in error["msg"]
    assert "canary" not in error["msg"]
