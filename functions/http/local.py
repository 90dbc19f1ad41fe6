"""Guards a control plane that serves one machine against the pages that a browser on that machine shows.

A page of any origin may send requests to a loopback address, and with a name of its own that is made to mean this
machine (DNS rebinding), it may read the answers.

A program in a machine under QEMU names its host by LOOPBACK_GATEWAY, an address: no page's own name can mean that.
"""

from urllib.parse import urlsplit

from werkzeug import Request

from functions.domain.refusals import Forbidden
from shared.address import LOOPBACK_GATEWAY
from shared.public_address import is_loopback


class ForeignRequest(Forbidden):
    """The request was sent by a page of another machine, or to another name than this machine's."""

    code = "foreign_request"
    title = "This control plane serves its own machine only"

    def __init__(self) -> None:
        super().__init__(
            "Send the request to 127.0.0.1, [::1] or localhost (in a machine: to its gateway), and from no page of "
            "another origin: the Host or the Origin header names another machine."
        )


def is_foreign(request: Request) -> bool:
    """Return whether a header names another machine. Programs, unlike browsers, send no Origin."""
    host, origin = request.headers.get("Host"), request.headers.get("Origin")
    called = None if host is None else _host(f"//{host}")
    return not (
        (called is None or called == LOOPBACK_GATEWAY or is_loopback(called))
        and (origin is None or is_loopback(_host(origin)))
    )


def _host(address: str) -> str:
    """Return the host that an address names; empty if it names none."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
