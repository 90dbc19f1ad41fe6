"""An HTTP proxy before the functions, which loses, delays, repeats and refuses requests."""

import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, Final, NoReturn

import httpx
import typer
from werkzeug import Request, Response

from emulators.serving import bind, serving
from tests.chaos.faults import Chance, Dice, Faults, Kind, quiet_on_signal, write
from tests.harness.upstream import Upstream

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

OTHER: Final = "other"
FAMILIES: Final[Mapping[tuple[str, str], str]] = {
    ("POST", "orders"): "order",
    ("POST", "claims"): "claim",
    ("POST", "updates"): "update",
    ("POST", "heartbeats"): "heartbeat",
    ("POST", "callbacks"): "callback",
    ("POST", "sweeps"): "sweep",
    ("GET", "holds"): "holds",
    ("GET", "orders"): "read",
    ("DELETE", "orders"): "purge",
}
"""By the method, and the word after `/v1/`."""
FAULTS: Final[Faults] = {
    "order": {Kind.DROP: 0.10, Kind.DELAY: 0.05, Kind.DUPLICATE: 0.10, Kind.REFUSE: 0.05},
    "claim": {Kind.DROP: 0.05, Kind.DELAY: 0.05, Kind.DUPLICATE: 0.05, Kind.REFUSE: 0.02},
    "update": {Kind.DROP: 0.08, Kind.DELAY: 0.05, Kind.DUPLICATE: 0.08, Kind.REFUSE: 0.04},
    "heartbeat": {Kind.DROP: 0.05, Kind.DELAY: 0.03, Kind.DUPLICATE: 0.05, Kind.REFUSE: 0.03},
    "callback": {Kind.DROP: 0.08, Kind.DELAY: 0.05, Kind.DUPLICATE: 0.08, Kind.REFUSE: 0.05},
    "sweep": {Kind.DROP: 0.05, Kind.DUPLICATE: 0.20},
    "holds": {Kind.DROP: 0.15, Kind.DELAY: 0.10, Kind.DUPLICATE: 0.15, Kind.REFUSE: 0.15},
    "read": {Kind.DROP: 0.10, Kind.DELAY: 0.05, Kind.DUPLICATE: 0.05, Kind.REFUSE: 0.05},
    "purge": {Kind.DROP: 0.15, Kind.DELAY: 0.05, Kind.DUPLICATE: 0.15, Kind.REFUSE: 0.10},
    OTHER: {Kind.DROP: 0.03, Kind.REFUSE: 0.03},
}


class HttpProxy:
    """A WSGI application. `upstream` is a base address; close it after the last request."""

    def __init__(self, upstream: str, chance: Chance) -> None:
        self._chance = chance
        self._upstream = Upstream(upstream)

    def close(self) -> None:
        self._upstream.close()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        outgoing = self._upstream.outgoing(request)
        fault = self._chance.draw(family(request))
        if fault is not None and fault.kind is Kind.REFUSE:
            return Response("a fault: not carried out", 503)(environ, start_response)
        try:
            if fault is not None and fault.kind is Kind.DUPLICATE:
                self._upstream.ask(outgoing)
            answer = self._upstream.ask(outgoing)
        except httpx.TransportError:
            _hang_up(environ)
        if fault is not None and fault.kind is Kind.DROP:
            _hang_up(environ)
        if fault is not None and fault.kind is Kind.DELAY:
            Event().wait(fault.seconds)
        return answer(environ, start_response)


def family(request: Request) -> str:
    """Return the request's family of faults."""
    version, word = [*request.path.split("/"), "", ""][1:3]
    return FAMILIES.get((request.method, word), OTHER) if version == "v1" else OTHER


def _hang_up(environ: "WSGIEnvironment") -> NoReturn:
    """End the connection without an answer; werkzeug ignores a connection that was lost."""
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError("a fault: the answer was lost")


@contextmanager
def proxying(upstream: str, chance: Chance) -> Iterator[str]:
    """Serve before `upstream` on a free port in the background; yield the base address."""
    proxy = HttpProxy(upstream, chance)
    try:
        with serving(proxy) as address:
            yield address
    finally:
        proxy.close()


def serve(port: int = typer.Option(), upstream: str = typer.Option(), seed: int = typer.Option()) -> None:
    """Pass requests on from `port` to `upstream`, with faults until SIGUSR1."""
    dice = Dice(FAULTS, seed, write)
    quiet_on_signal(dice)
    bind(HttpProxy(upstream, dice), port).serve_forever()


if __name__ == "__main__":
    typer.run(serve)
