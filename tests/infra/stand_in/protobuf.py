"""Protocol buffers, as far as the plugin protocol needs them: a message is a dict from field numbers to values.

A value is an integer, a boolean, bytes, a string or a message; a list is a repeated field.
"""

from collections.abc import Mapping
from typing import Any, Final

Message = Mapping[int, Any]

VARINT: Final = 0
LENGTH_DELIMITED: Final = 2


def encode(message: Message) -> bytes:
    """Return the message's bytes."""
    return b"".join(
        _field(number, value)
        for number, values in message.items()
        for value in (values if isinstance(values, list) else [values])
    )


def decode(data: bytes) -> dict[int, Any]:
    """Return each field's last value: a number, or bytes, which may be a text or a message to decode."""
    message: dict[int, Any] = {}
    at = 0
    while at < len(data):
        key, at = _varint_at(data, at)
        number, at = _varint_at(data, at)
        if key & 7 == LENGTH_DELIMITED:
            message[key >> 3] = data[at : at + number]
            at += number
        else:
            message[key >> 3] = number
    return message


def _field(number: int, value: object) -> bytes:
    match value:
        case int():
            return _varint(number << 3 | VARINT) + _varint(value)
        case bytes():
            content = value
        case str():
            content = value.encode()
        case Mapping():
            content = encode(value)
        case _:
            raise TypeError(f"field {number} is a {type(value).__name__}, which no message holds")
    return _varint(number << 3 | LENGTH_DELIMITED) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _varint_at(data: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at this byte, and where the next field begins."""
    number, shift = 0, 0
    while data[at] & 0x80:
        number |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
    return number | data[at] << shift, at + 1
