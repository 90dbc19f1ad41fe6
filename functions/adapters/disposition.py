"""The Content-Disposition header of a download (RFC 6266)."""

import re
from urllib.parse import quote


def attachment(file_name: str) -> str:
    """Return the header that makes a download a file of this name.

    Clients that support RFC 5987 take the exact name from `filename*`; others use its ASCII part.
    """
    printable = re.sub(r"[\x00-\x1f\x7f]", "_", file_name)
    plain = printable.encode("ascii", "replace").decode().replace("\\", "\\\\").replace('"', '\\"')
    header = f'attachment; filename="{plain}"'
    return header if printable.isascii() else f"{header}; filename*=UTF-8''{quote(printable, safe='')}"
