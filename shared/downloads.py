"""Downloads an order's output from the bucket, and checks it."""

import hashlib
from pathlib import Path
from typing import Final

import httpx

from shared.address import origin, parse
from shared.client_errors import NoOutput, OutputMismatch, Unreachable
from shared.http_client import explain, open_client
from shared.wire.orders import OrderView, OutputView

TIMEOUT: Final = httpx.Timeout(15.0)
CHUNK: Final = 1 << 20
RAW: Final = {"Accept-Encoding": "identity"}
"""Asks a server not to compress its answer."""


def save_output(order_id: str, expected: OutputView, location: str, to: Path) -> None:
    """Download the order's output from `location` to the file `to`, which appears only once its size and SHA-256 were
    checked. Raises OutputMismatch, Unreachable.
    """
    partial = to.with_name(f".{to.name}.partial")
    try:
        _check(order_id, expected, *_download(location, partial, expected.size))
        partial.replace(to)
    finally:
        partial.unlink(missing_ok=True)


def output_of(order: OrderView) -> OutputView:
    """Return the order's output. Raises NoOutput."""
    if order.output is None:
        raise NoOutput(f"Order {order.id} is {order.state}; it has no output to download.")
    return order.output


def _download(location: str, to: Path, most: int) -> tuple[int, str]:
    """Write the object at `location` to the file `to`; return its size in bytes, and its SHA-256 in hex.

    The bytes are written as they were stored: whoever uploaded an object may have marked it as compressed, and a few
    compressed bytes may stand for gigabytes. The download ends once there are more than `most` bytes; these are not
    written, and the size is that of what came until then.
    """
    digest, size = hashlib.sha256(), 0
    try:
        bucket = parse(location)
    except ValueError as error:
        raise Unreachable(f"The control plane redirected to an address that is wrong: {error}.") from None
    try:
        with (
            open_client(origin(bucket), timeout=TIMEOUT) as http,
            http.stream("GET", bucket, headers=RAW) as response,
            to.open("wb") as file,
        ):
            if not response.is_success:
                raise Unreachable(f"The bucket answered {response.status_code} to the download.")
            for chunk in response.iter_raw(CHUNK):
                size += len(chunk)
                if size > most:
                    break
                file.write(chunk)
                digest.update(chunk)
    except httpx.HTTPError as error:
        raise Unreachable(f"The download from the bucket failed: {explain(error, bucket)}.") from None
    return size, digest.hexdigest()


def _check(order_id: str, expected: OutputView, size: int, sha256: str) -> None:
    if size > expected.size:
        difference = f"is longer than {expected.size} bytes"
    elif size < expected.size:
        difference = f"is {size} bytes long instead of {expected.size}"
    elif expected.sha256 is not None and sha256 != expected.sha256:
        difference = f"has the SHA-256 {sha256} instead of {expected.sha256}"
    else:
        return
    raise OutputMismatch(f"The object in the bucket for order {order_id} {difference}. The download was discarded.")
