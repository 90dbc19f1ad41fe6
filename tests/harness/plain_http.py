"""Requests to servers of this machine, which do not use TLS.

httpx reads all public certificate authorities for each client, even if it never needs them: 35 ms of CPU a request.
"""

from functools import partial
from typing import Any, Final

import httpx

from shared.http_client import open_client


def request(method: str, url: str, **options: Any) -> httpx.Response:
    """Send one request, by a connection of its own. Raises httpx.TransportError."""
    with open_client(url) as http:
        return http.request(method, url, **options)


get: Final = partial(request, "GET")
post: Final = partial(request, "POST")
put: Final = partial(request, "PUT")
delete: Final = partial(request, "DELETE")
