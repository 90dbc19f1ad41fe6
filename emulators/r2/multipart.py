"""Checks the sizes of a multipart upload's parts (https://developers.cloudflare.com/r2/objects/multipart-objects/)."""

from collections.abc import Sequence
from typing import Final

from emulators.r2.request import NotAllowed

MAX_PARTS: Final = 10_000
MIN_PART: Final = 5 << 20
"""The least number of bytes of every part but the last."""


def check_parts(sizes: Sequence[int]) -> None:
    """Raise NotAllowed unless all parts but the last have one size, and the last is no longer. `sizes` are in bytes."""
    *leading, last = sizes
    if not leading:
        return
    if min(leading) < MIN_PART:
        raise NotAllowed(400, "EntityTooSmall", "Every part but the last must have at least 5 MiB.")
    if min(leading) != max(leading):
        raise NotAllowed(400, "InvalidPart", "All non-trailing parts must have the same length.")
    if last > leading[0]:
        raise NotAllowed(400, "InvalidPart", "The last part must not be longer than the others.")
