"""Amounts of memory and disk, as an operator writes them: GiB where no unit is named, as in the contract's sizes."""

import re
from collections.abc import Mapping
from typing import Final

import typer

MIB_OF: Final[Mapping[str, int]] = {"": 1024, "G": 1024, "M": 1}
AMOUNT: Final = re.compile(r"(\d{1,9})(?:([GM])(?:iB)?)?")


def mib(text: str) -> int:
    """Return the MiB. Raises BadParameter."""
    if (amount := AMOUNT.fullmatch(text.strip())) is None:
        raise typer.BadParameter("Give GiB, such as 4, or MiB, such as 256M.")
    return int(amount[1]) * MIB_OF[amount[2] or ""]
