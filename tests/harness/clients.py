"""Clients that repeat a request until it is answered, as every client of the product should."""

import threading
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx

from shared.client import ControlPlane
from shared.client_errors import Unreachable
from shared.http_client import open_client
from shared.wire.orders import OrderView
from tests.harness.waiting import MAX_SECONDS, await_value

RETRY_SECONDS: Final = 0.5
TIMEOUT: Final = 15.0

T = TypeVar("T")


class GaveUp(Exception):
    """The run ended before the request was answered."""


def until_answered(call: Callable[[], T], over: threading.Event | None = None, seconds: float = MAX_SECONDS) -> T:
    """Repeat a call until it is answered. Raises GaveUp once `over` is set or the time is up, and what `call` raises
    other than Unreachable."""
    over = over or threading.Event()
    for _ in range(int(seconds / RETRY_SECONDS)):
        if over.is_set():
            break
        try:
            return call()
        except Unreachable:
            over.wait(RETRY_SECONDS)
    raise GaveUp


def download(api: ControlPlane, order: OrderView) -> bytes:
    """Return the order's output, once `download_output` has checked it."""
    with TemporaryDirectory(prefix="launchyard-download-") as folder:
        file = Path(folder) / "output"
        api.download_output(order, file)
        return file.read_bytes()


class Client:
    """One API key, of whichever role: for `/v1` through `answer`, for the capacity contract through `ask`."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.api = ControlPlane(url, key)
        headers = {"Authorization": f"Bearer {key}"}
        self._http = open_client(url, headers=headers, timeout=TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.api.close()
        self._http.close()

    def answer(self, call: Callable[[ControlPlane], T]) -> T:
        """Return the answer to a call of `/v1`, repeated until there is one. Raises ControlPlaneError, GaveUp."""
        return until_answered(lambda: call(self.api))

    def read(self, order_id: str) -> OrderView:
        return self.answer(lambda api: api.get_order(order_id))

    def orders(self) -> tuple[OrderView, ...]:
        """Return the orders that this key may see: up to 200."""
        return self.answer(lambda api: api.list_orders(limit=200)).orders

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """Repeat a request until it is answered, and return the answer's JSON. Any status but 200 is a failure."""
        answer = self.answer_to(method, path, **options)
        assert answer.status_code == HTTPStatus.OK, f"{method} {path}: {answer.status_code}: {answer.text}"
        return answer.json()

    def answer_to(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Repeat a request until the answer is no server error, and return that."""

        def once() -> httpx.Response | None:
            try:
                answer = self._http.request(method, path, **options)
            except httpx.TransportError:
                return None
            return None if answer.is_server_error else answer

        return await_value(once, f"an answer to {method} {path}")
