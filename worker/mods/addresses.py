"""The addresses that a record links. A `url` of MODS is an xs:anyURI, so what is none is left out."""

import re
from typing import Final

from worker.arke.source import PLAIN

CHARACTERS: Final = r"(?:[^\x00-\x20\x7f\"<>\\^`{|}%#\[\]]|%[0-9A-Fa-f]{2})*"
ADDRESS: Final = re.compile(
    rf"https?://[A-Za-z0-9.-]+(?::[0-9]{{1,5}})?(?:[/?]{CHARACTERS})?(?:#{CHARACTERS})?",
)
"""An absolute http(s) address (RFC 3986), with characters beyond ASCII as they are (RFC 3987)."""


def address(text: str | None) -> str | None:
    """Return the text if it is an address of the web."""
    return text if text is not None and ADDRESS.fullmatch(text) else None


def below(base: str, name: str) -> str | None:
    """Return the address of a PI or a CID below `base`, or None if it is not one."""
    return f"{base}/{name}" if PLAIN.fullmatch(name) else None
