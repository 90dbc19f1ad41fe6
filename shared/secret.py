"""The type of every secret that a setting or a machine's configuration holds."""

from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, SecretStr

FIRST: Final = " "
LAST: Final = "~"


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _sendable(secret: SecretStr) -> SecretStr:
    """Refuse what no header carries: a library that is given it repeats it in its message."""
    text = secret.get_secret_value()
    if not text:
        raise ValueError("it is empty: give the secret, or leave the setting out")
    if not is_sendable(text):
        raise ValueError(
            "it holds a character that is not printable ASCII: copy it again, without quotes or line breaks"
        )
    return secret


def is_sendable(text: str) -> bool:
    """Return whether a header can carry the text as it is: printable ASCII without blanks around it (RFC 9110, 5.5)."""
    return text == text.strip() and all(FIRST <= sign <= LAST for sign in text)


Secret = Annotated[SecretStr, BeforeValidator(_stripped), AfterValidator(_sendable)]
"""Shown by nothing that prints it. Blanks and line breaks around it are no part of it: a file or a paste left them."""
