"""What is before the functions in the cloud: a load balancer that routes by path, or their own addresses."""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from werkzeug import Request, Response

from emulators.serving import serving
from tests.harness.upstream import Upstream
from tools.installed_bundle import services

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

EVERYTHING: Final = "everything"
"""The service that is deployed where there is no load balancer; its rule would match every path."""
DEFAULT: Final = "orders"
"""The service of paths that no rule matches."""
PREFIX: Final = "launchyard-"
"""What a function's name begins with."""
KEY: Final = re.compile(r"^/k/[^/]+(?=/)")


@dataclass(frozen=True, slots=True)
class Destination:
    """A service, and the path and query that it is sent."""

    service: str
    target: str


Routing = Callable[[str], Destination | None]


def by_path(target: str) -> Destination | None:
    """Route as the load balancer does: to the service whose longest rule matches the path, or to DEFAULT.

    A rule is a path, or ends in `/*` and matches all that is below
    (https://cloud.google.com/load-balancing/docs/url-map-concepts). A path may have a key in front, `/k/<key>`.
    """
    return Destination(service_at(KEY.sub("", target.partition("?")[0]), _paths()) or DEFAULT, target)


def service_at(path: str, paths: Mapping[str, Sequence[str]]) -> str | None:
    """Return the service whose longest rule matches the path; None if no rule does."""
    found = [
        (len(rule), name)
        for name, rules in paths.items()
        for rule in rules
        if path == rule or (rule.endswith("/*") and path.startswith(rule.removesuffix("*")))
    ]
    return max(found)[1] if found else None


def by_name(target: str) -> Destination | None:
    """Route as `<region>-<project>.cloudfunctions.net` does: the first part of the path names the function.

    The function is sent the rest (https://cloud.google.com/functions/docs/writing/write-http-functions).
    """
    name, slash, rest = target.removeprefix("/").partition("/")
    return Destination(name.removeprefix(PREFIX), f"{slash}{rest}") if name.startswith(PREFIX) else None


class Front:
    """A WSGI application. `upstreams` are the services; `answered` counts each one's answers."""

    def __init__(self, routing: Routing, upstreams: Mapping[str, Upstream]) -> None:
        self.answered = Counter[str]()
        self._routing, self._upstreams = routing, upstreams
        self._counting = threading.Lock()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        return self._answer(environ)(environ, start_response)

    def _answer(self, environ: "WSGIEnvironment") -> "WSGIApplication":
        there = self._routing(str(environ["RAW_URI"]))
        if there is None or there.service not in self._upstreams:
            return Response("No function has this path.\n", HTTPStatus.NOT_FOUND)
        upstream = self._upstreams[there.service]
        answer = upstream.ask(upstream.outgoing(Request({**environ, "RAW_URI": there.target})))
        with self._counting:
            self.answered[there.service] += 1
        return answer


@contextmanager
def fronting(routing: Routing, addresses: Mapping[str, str]) -> Iterator[tuple[Front, str]]:
    """Serve a front of the services at these addresses; yield it, and its own address."""
    upstreams = {name: Upstream(address) for name, address in addresses.items()}
    front = Front(routing, upstreams)
    try:
        with serving(front) as address:
            yield front, address
    finally:
        for upstream in upstreams.values():
            upstream.close()


@cache
def _paths() -> Mapping[str, Sequence[str]]:
    """Return the rules of each service."""
    return {name: told["paths"] for name, told in services().items() if name != EVERYTHING}
