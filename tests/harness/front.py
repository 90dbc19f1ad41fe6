"""A front end that holds connections while its server is down, as Cloud Run queues requests while an instance starts.

https://cloud.google.com/run/docs/about-concurrency and …/about-instance-autoscaling: a request waits for an instance,
and is not refused. A request that an instance was handling when it died fails there, and so it does here.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import Final

from emulators.processes import LOOPBACK

CHUNK: Final = 64 * 1024
RETRY_SECONDS: Final = 0.05
MAX_HELD_SECONDS: Final = 120.0


class Front:
    """`connections` is the number of those that are connected to the server, or wait for it."""

    def __init__(self, server_port: int) -> None:
        self.connections = 0
        self._server_port = server_port

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Pass bytes between a client and the server until either closes its side."""
        self.connections += 1
        async with AsyncExitStack() as connections:
            connections.enter_context(suppress(asyncio.CancelledError))  # at the end of the front end
            connections.callback(self._count_off)
            connections.push_async_callback(_close, to_client)
            with suppress(TimeoutError):  # the client sees that its connection is closed
                async with asyncio.timeout(MAX_HELD_SECONDS):
                    server, to_server = await self._connect()
                connections.push_async_callback(_close, to_server)
                async with asyncio.TaskGroup() as directions:
                    both = [directions.create_task(_pass(*way)) for way in ((client, to_server), (server, to_client))]
                    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                    for direction in both:
                        direction.cancel()

    def _count_off(self) -> None:
        self.connections -= 1

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while True:
            with suppress(OSError):
                return await asyncio.open_connection(LOOPBACK, self._server_port)
            await asyncio.sleep(RETRY_SECONDS)


@contextmanager
def front_of(server_port: int, port: int) -> Iterator[Front]:
    """Serve a front end of the server at this port, in a thread of its own, until the end of the context."""
    front, ready, loop = Front(server_port), threading.Event(), asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        async with await asyncio.start_server(front.serve, LOOPBACK, port, backlog=512):
            ready.set()
            await over.wait()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(30), "the front end does not serve"
    try:
        yield front
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await source.read(CHUNK):
            target.write(chunk)
            await target.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
