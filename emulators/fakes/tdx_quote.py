"""A TDX quote (Intel TDX DCAP Quoting Library API, A.3) with a trust domain's measurements, and no signature."""

import struct
from dataclasses import dataclass
from typing import Final, Self

VERSION: Final = 4
TDX: Final = 0x81
HEADER: Final = struct.Struct("<HHI40x")
BODY: Final = struct.Struct("<16x 48x 48x 8x Q 8x 48s 48x 48x 48x 48s 48s 48s 48s 64s")
DEBUG: Final = 1
ZERO_REGISTER: Final = bytes(48)
UNSIGNED: Final = bytes(64)


class NoQuote(Exception):
    """The bytes are not a TDX quote of version 4."""


@dataclass(frozen=True, slots=True)
class TdxQuote:
    """Measurements have 48 bytes, `report_data` 64. Shorter values are padded with zeros."""

    mrtd: bytes
    rtmrs: tuple[bytes, bytes, bytes, bytes] = (ZERO_REGISTER, ZERO_REGISTER, ZERO_REGISTER, ZERO_REGISTER)
    report_data: bytes = b""
    debuggable: bool = False

    def pack(self) -> bytes:
        """Return an unsigned quote."""
        header = HEADER.pack(VERSION, 2, TDX)
        body = BODY.pack(DEBUG if self.debuggable else 0, self.mrtd, *self.rtmrs, self.report_data)
        return header + body + struct.pack("<I", len(UNSIGNED)) + UNSIGNED

    @classmethod
    def unpack(cls, quote: bytes) -> Self:
        """Raises NoQuote."""
        if len(quote) < HEADER.size + BODY.size:
            raise NoQuote("The quote is too short.")
        version, _, tee = HEADER.unpack_from(quote)
        if (version, tee) != (VERSION, TDX):
            raise NoQuote("This is not a TDX quote of version 4.")
        attributes, mrtd, *rtmrs, report_data = BODY.unpack_from(quote, HEADER.size)
        zero, one, two, three = rtmrs
        return cls(mrtd, (zero, one, two, three), report_data, bool(attributes & DEBUG))
