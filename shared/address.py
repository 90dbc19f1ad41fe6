"""Addresses of servers in settings. A wrong one is refused before anything is sent; the error does not repeat it."""

import ipaddress
from typing import Annotated, Final

import httpx
from pydantic import AfterValidator

from shared.public_address import is_loopback

SCHEMES: Final = ("http://", "https://")
PORTS: Final = range(1, 65536)
NATIVE: Final = "/v1"
LOOPBACK_GATEWAY: Final = "10.0.2.2"
"""The loopback of a QEMU machine's host, as QEMU's user network shows it to the guest."""


def parse(text: str) -> httpx.URL:
    """Parse an address whose host can be looked up and whose port is valid. Raises ValueError."""
    if any(char.isspace() or not char.isprintable() for char in text):
        raise ValueError("it holds a blank or a control character")
    try:
        url = httpx.URL(text)
        host = url.raw_host.decode("ascii")
        host.encode("idna")  # the resolver does this, and cannot look up a name if it fails
    except (httpx.InvalidURL, UnicodeError):
        raise ValueError("its host or port is misspelt: an address is such as https://control-plane.example") from None
    if not host:
        raise ValueError("it names no host: an address is such as https://control-plane.example")
    if url.port is not None and url.port not in PORTS:
        raise ValueError("its port is out of range: ports go from 1 to 65535")
    return url


def is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).version == 6
    except ValueError:
        return False


def origin(url: httpx.URL) -> str:
    """Return scheme, host and port: the rest of an address may hold a secret and is not shown."""
    return f"{url.scheme}://{url.netloc.decode()}"


def parse_private(text: str) -> httpx.URL:
    """Parse an address to which nobody between here and there can listen. Raises ValueError."""
    if not text.startswith(SCHEMES):
        raise ValueError("it must begin with http:// or https://, without quotes")
    url = parse(text)
    if url.scheme == "http" and not is_loopback(url.host):
        raise ValueError(
            "it must begin with https://, because a network can read and change what http:// carries: "
            "http:// is for 127.0.0.1, [::1] and localhost alone"
        )
    return url


def _base(text: str) -> str:
    text = text.strip()
    url = parse_private(text)
    if url.userinfo:
        raise ValueError("it holds a user or a password: leave them out, a key is a setting of its own")
    if "?" in text or "#" in text:
        raise ValueError("it has a query or a fragment: leave that out")
    return text.rstrip("/")


def _without_version(text: str) -> str:
    if text.endswith(NATIVE):
        raise ValueError(f"it ends in {NATIVE}: leave that out")
    return text


BaseUrl = Annotated[str, AfterValidator(_base)]
"""Paths are appended to it. Blanks around it and a trailing slash are removed. `http://` is for loopback addresses."""
ControlPlaneUrl = Annotated[BaseUrl, AfterValidator(_without_version)]
