"""The type of secrets in settings and in machines' configurations."""

from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, SecretStr

FIRST_PRINTABLE: Final = " "
LAST_PRINTABLE: Final = "~"


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _sendable(secret: SecretStr) -> SecretStr:
    """Refuse a secret that no HTTP header can carry: libraries repeat such a value in their error messages."""
    text = secret.get_secret_value()
    if not text:
        raise ValueError("it is empty: give the secret, or leave the setting out")
    if not is_sendable(text):
        raise ValueError(
            "it holds a character that is not printable ASCII: copy it again, without quotes or line breaks"
        )
    return secret


def is_sendable(text: str) -> bool:
    """Return whether an HTTP header can carry the text: printable ASCII without blanks around it (RFC 9110, 5.5)."""
    return text == text.strip() and all(FIRST_PRINTABLE <= char <= LAST_PRINTABLE for char in text)


Secret = Annotated[SecretStr, BeforeValidator(_stripped), AfterValidator(_sendable)]
"""Printing it shows no value. Blanks and line breaks around it, which a file or a paste leaves, are removed."""
