"""The control plane's Python client: what launchers, the command line and other programs call `/v1/…` with."""

import hashlib
import ipaddress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from shared.api import (
    Answer,
    ClaimAnswer,
    ClaimById,
    ClaimNext,
    HeartbeatAnswer,
    HeartbeatRequest,
    HoldsView,
    LimitsRequest,
    OrderList,
    OrderRequest,
    OrderView,
    OutputView,
    Problem,
    SweepAnswer,
    SweepRequest,
    UpdateRequest,
    read_answer,
)
from shared.domain.order import State
from shared.domain.spec import AnySpec, OrderKind

T = TypeVar("T", bound=Answer)

TIMEOUT: Final = httpx.Timeout(15.0)
WAIT_MARGIN: Final = 15.0
"""Seconds beyond a claim's own wait before its answer is given up."""
SWEEP_SECONDS: Final = 60.0
"""How long a sweep may take: asked for again before its end, two would do the same."""
CHUNK: Final = 1 << 20
USUAL: Final = LimitsRequest()
"""The limits that are usual for an order's kind."""


class ControlPlaneError(Exception):
    """The control plane did not do as asked: `Refused` with its answer, or `Unreachable` without one."""


class Unreachable(ControlPlaneError):
    """No answer, or one that says to try again (5xx, 429): the request may or may not have been carried out."""


class NoAnswer(Unreachable):
    """Nothing answered at the control plane's address."""

    def __init__(self, url: httpx.URL, why: str) -> None:
        self.local = _is_loopback(url.host)
        super().__init__(f"The control plane at {url.scheme}://{url.netloc.decode()} did not answer: {why}")


class NoOutput(ControlPlaneError):
    """The order has left nothing to download."""


class OutputMismatch(ControlPlaneError):
    """The bucket's object is not the one that the order's worker reported."""


class Refused(ControlPlaneError):
    """An answer that will be the same next time; `problem` says why (RFC 9457)."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        details = "".join(f"\n  {error.field}: {error.message}" for error in problem.errors)
        super().__init__(f"{problem.detail}{details}")

    @property
    def code(self) -> str:
        """The last part of the problem's type, such as `lease_lost`."""
        return self.problem.type.rsplit(":", 1)[-1]


class ControlPlane:
    """One base URL and one key. Safe to use from several threads; close it, or use it as a context manager."""

    def __init__(self, url: str, key: str, transport: httpx.BaseTransport | None = None) -> None:
        headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def create_order(
        self,
        spec: AnySpec,
        idempotency_key: str,
        limits: LimitsRequest = USUAL,
        not_before: datetime | None = None,
    ) -> OrderView:
        headers = {"Idempotency-Key": idempotency_key}
        request = OrderRequest(order=spec, limits=limits, not_before=not_before)
        return self._post("/v1/orders", request, OrderView, headers=headers)

    def get_order(self, order_id: str) -> OrderView:
        return self._send("GET", f"/v1/orders/{order_id}", OrderView)

    def list_orders(
        self,
        state: State | None = None,
        kind: OrderKind | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> OrderList:
        asked = {"state": state, "kind": kind, "limit": limit, "after": after}
        params = {name: value for name, value in asked.items() if value is not None}
        return self._send("GET", "/v1/orders", OrderList, params=params)

    def cancel_order(self, order_id: str) -> OrderView:
        return self._send("POST", f"/v1/orders/{order_id}/cancel", OrderView)

    def requeue_order(self, order_id: str) -> OrderView:
        """Return the order that was placed in a failed one's stead: the same one however often it is asked for."""
        return self._send("POST", f"/v1/orders/{order_id}/requeue", OrderView)

    def purge_order(self, order_id: str) -> None:
        """Remove an order that has ended, and what it left; one that is not there is no error."""
        path = f"/v1/orders/{order_id}"
        response = self._request("DELETE", path)
        _raise_for_problem(response)
        if response.status_code != httpx.codes.NO_CONTENT:
            raise Unreachable(f"DELETE {path} was answered {response.status_code}; a control plane answers 204.")

    def download_output(self, order: OrderView, to: Path) -> None:
        """Write the order's output to the file `to`, which appears only when it is whole and what the order says.

        Raises NoOutput, OutputMismatch.
        """
        expected = output_of(order)
        location = self._redirect(f"/v1/orders/{order.id}/output")
        partial = to.with_name(f".{to.name}.partial")
        try:
            _check(order, expected, *_download(location, partial))
            partial.replace(to)
        finally:
            partial.unlink(missing_ok=True)

    def claim(self, request: ClaimById | ClaimNext) -> ClaimAnswer:
        wait = request.wait_seconds if isinstance(request, ClaimNext) else 0
        return self._post("/v1/claims", request, ClaimAnswer, timeout=wait + WAIT_MARGIN)

    def update(self, order_id: str, request: UpdateRequest) -> OrderView:
        return self._post(f"/v1/updates/{order_id}", request, OrderView)

    def heartbeat(self, request: HeartbeatRequest) -> HeartbeatAnswer:
        return self._post("/v1/heartbeats", request, HeartbeatAnswer)

    def holds(self, launcher: str) -> HoldsView:
        """Return what the control plane believes the launcher to hold."""
        return self._send("GET", "/v1/holds", HoldsView, params={"launcher": launcher})

    def sweep(self, request: SweepRequest) -> SweepAnswer:
        return self._post("/v1/sweeps", request, SweepAnswer, timeout=SWEEP_SECONDS)

    def _post(self, path: str, body: BaseModel, answer: type[T], **options: Any) -> T:
        headers = {"Content-Type": "application/json"} | options.pop("headers", {})
        return self._send("POST", path, answer, content=body.model_dump_json(), headers=headers, **options)

    def _send(self, method: str, path: str, answer: type[T], **options: Any) -> T:
        response = self._request(method, path, **options)
        _raise_for_problem(response)
        try:
            return read_answer(answer, response.content)
        except ValidationError as error:
            raise Unreachable(f"{method} {path} was not answered by a control plane of this version.") from error

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except httpx.RequestError as error:
            raise NoAnswer(self._http.base_url, str(error)) from error

    def _redirect(self, path: str) -> str:
        response = self._request("GET", path)
        _raise_for_problem(response)
        location = response.headers.get("location")
        if not response.is_redirect or location is None:
            raise Unreachable(f"GET {path} was answered {response.status_code} without a location.")
        return str(location)


def output_of(order: OrderView) -> OutputView:
    """Return what the order left. Raises NoOutput."""
    if order.output is None:
        raise NoOutput(f"Order {order.id} is {order.state}; it has no output to download.")
    return order.output


def _download(location: str, to: Path) -> tuple[int, str]:
    """Write what the bucket answers to the file `to`; return its size and its SHA-256."""
    digest, size = hashlib.sha256(), 0
    try:
        with httpx.stream("GET", location, timeout=TIMEOUT) as response, to.open("wb") as file:
            if not response.is_success:
                raise Unreachable(f"The bucket answered {response.status_code} to the download.")
            for chunk in response.iter_bytes(CHUNK):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
    except httpx.HTTPError as error:
        raise Unreachable(f"The bucket did not answer the download as it should: {error}") from error
    return size, digest.hexdigest()


def _check(order: OrderView, expected: OutputView, size: int, sha256: str) -> None:
    if size != expected.size:
        what = f"is {size} bytes long, and not {expected.size}"
    elif sha256 != expected.sha256:
        what = f"has the SHA-256 {sha256}, and not {expected.sha256}"
    else:
        return
    raise OutputMismatch(f"What the bucket holds for order {order.id} {what}; it is not kept.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _raise_for_problem(response: httpx.Response) -> None:
    if response.status_code < 400:
        return
    if response.status_code >= 500 or response.status_code == 429:
        raise Unreachable(f"The control plane answered {response.status_code}.")
    try:
        problem = read_answer(Problem, response.content)
    except ValidationError:
        raise Unreachable(f"Something that is no control plane answered {response.status_code}.") from None
    raise Refused(problem)
