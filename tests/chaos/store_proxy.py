"""A gRPC proxy before the Firestore emulator, which loses, delays and repeats calls. It does not read their content.

Runs as a process of its own (`python -m tests.chaos.store_proxy`), since gRPC does not survive a fork.
"""

import math
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, Final

import grpc
import typer

from emulators.processes import LOOPBACK
from tests.chaos.faults import Chance, Dice, Fault, Faults, Kind, quiet_on_signal, write

FAMILIES: Final[Mapping[str, str]] = {
    "Commit": "commit",
    "BatchWrite": "commit",
    "GetDocument": "read",
    "BatchGetDocuments": "read",
    "RunQuery": "query",
}
"""By the method's name. All of these take one request; calls of a method that is missing meet no faults."""
FAULTS: Final[Faults] = {
    "commit": {Kind.DROP: 0.06, Kind.SILENCE: 0.006, Kind.DELAY: 0.05, Kind.DUPLICATE: 0.06},
    "read": {Kind.DROP: 0.02, Kind.SILENCE: 0.002, Kind.DELAY: 0.02},
    "query": {Kind.DROP: 0.02, Kind.DELAY: 0.02},
}
THREADS: Final = 128
"""A silent call holds one until its caller's deadline."""
UNLIMITED: Final = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
OF_ONE_CONNECTION: Final = frozenset({"user-agent"})
"""Metadata that each channel adds itself."""

Metadata = tuple[tuple[str, str | bytes], ...]


class StoreProxy:
    """A generic handler of gRPC: it serves every method."""

    def __init__(self, upstream: grpc.Channel, chance: Chance) -> None:
        self._upstream, self._chance = upstream, chance

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        name = call.method.rpartition("/")[2]

        def behave(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            if name in FAMILIES:
                return self._disturbed(call.method, FAMILIES[name], list(requests), context)
            return self._forward(call.method, requests, context)

        return grpc.stream_stream_rpc_method_handler(behave)

    def _disturbed(
        self, method: str, family: str, requests: list[bytes], context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        fault = self._chance.draw(family)
        if fault is None:
            yield from self._forward(method, requests, context)
            return
        if fault.kind is Kind.REFUSE:
            context.abort(grpc.StatusCode.UNAVAILABLE, "a fault: not carried out")
        if fault.kind is Kind.DUPLICATE:
            self._carry_out(method, requests, context)
        if fault.kind in (Kind.DROP, Kind.SILENCE):
            self._carry_out(method, requests, context)
            _lose_answer(fault, context)
        answers = self._forward(method, requests, context)
        if fault.kind is Kind.DELAY:
            answers = iter(list(answers))
            _wait(context, fault.seconds)
        yield from answers

    def _carry_out(self, method: str, requests: Iterable[bytes], context: grpc.ServicerContext) -> None:
        """Make the call, and drop its answer or error."""
        with suppress(grpc.RpcError):
            list(self._call(method, requests, context))

    def _forward(self, method: str, requests: Iterable[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        call = self._call(method, requests, context)
        try:
            yield from call
            context.set_trailing_metadata(call.trailing_metadata() or ())
        except grpc.RpcError:
            context.set_trailing_metadata(call.trailing_metadata() or ())
            context.abort(call.code(), call.details())

    def _call(self, method: str, requests: Iterable[bytes], context: grpc.ServicerContext) -> Any:
        left = context.time_remaining()
        call = self._upstream.stream_stream(method)(
            iter(requests),
            timeout=left if math.isfinite(left) else None,
            metadata=_passed_on(context.invocation_metadata()),
        )
        context.add_callback(call.cancel)  # a caller that has gone needs no answer
        return call


def _passed_on(metadata: Metadata) -> Metadata:
    return tuple((name, value) for name, value in metadata if name not in OF_ONE_CONNECTION)


def _lose_answer(fault: Fault, context: grpc.ServicerContext) -> None:
    if fault.kind is Kind.SILENCE:
        _wait(context)
    context.abort(grpc.StatusCode.UNAVAILABLE, "a fault: the answer was lost")


def _wait(context: grpc.ServicerContext, seconds: float | None = None) -> None:
    """Wait, but no longer than the caller does: until its deadline, or until it hangs up."""
    gone = threading.Event()
    if context.add_callback(gone.set):
        gone.wait(seconds)


@contextmanager
def proxying(upstream: str, chance: Chance, port: int = 0) -> Iterator[int]:
    """Serve before `upstream` (`host:port`) in the background; yield the port. Port 0 takes a free one."""
    with grpc.insecure_channel(upstream, options=UNLIMITED) as channel, ThreadPoolExecutor(THREADS) as pool:
        server = grpc.server(pool, [StoreProxy(channel, chance)], options=UNLIMITED)
        bound = server.add_insecure_port(f"{LOOPBACK}:{port}")
        server.start()
        try:
            yield int(bound)
        finally:
            server.stop(grace=0).wait()


def serve(port: int = typer.Option(), upstream: str = typer.Option(), seed: int = typer.Option()) -> None:
    """Pass calls on from `port` to `upstream`, with faults until SIGUSR1."""
    dice = Dice(FAULTS, seed, write)
    quiet_on_signal(dice)
    with proxying(upstream, dice, port):
        threading.Event().wait()


if __name__ == "__main__":
    typer.run(serve)
