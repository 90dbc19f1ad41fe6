"""The Python client of `/v1/…`, for launchers, the command line and other programs."""

import re
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Final, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from shared.client_errors import LaterOrder, NoAnswer, RequestWrong, Unreachable, raise_for_problem
from shared.domain.order import ORDER_ID_PATTERN, State
from shared.domain.spec import AnySpec, OrderKind
from shared.downloads import output_of, save_output
from shared.http_client import explain, open_client
from shared.secret import is_sendable
from shared.settings import SettingsWrong
from shared.wire.base import LEFT_TO_RIGHT, Answer, read_answer
from shared.wire.launchers import (
    IDENTITY_HEADER,
    ClaimAnswer,
    ClaimById,
    Claimed,
    ClaimNext,
    EnvironmentAnswer,
    EnvironmentRequest,
    HeartbeatAnswer,
    HeartbeatRequest,
    HoldsView,
    UpdateRequest,
)
from shared.wire.operators import SweepAnswer, SweepRequest
from shared.wire.orders import LimitsRequest, OrderList, OrderRequest, OrderView

T = TypeVar("T", bound=Answer)

TIMEOUT: Final = httpx.Timeout(15.0)
WAIT_MARGIN: Final = 15.0
"""Seconds to wait for a claim's answer, in addition to the claim's own wait."""
SWEEP_TIMEOUT: Final = 60.0
"""Seconds. If a sweep were requested again before it ended, two sweeps would do the same work."""
ORDER_ID: Final = re.compile(ORDER_ID_PATTERN)
DEFAULT_LIMITS: Final = LimitsRequest()
"""Leaves every limit to the default for the order's kind."""


class _Unread(Answer):
    """The fields of a claim that every version can read."""

    order_id: str
    epoch: int


class _AnyClaim(Answer):
    claimed: Annotated[Claimed | _Unread | None, LEFT_TO_RIGHT]


class ControlPlane:
    """Calls one control plane with one key. Several threads may share it. Close it, or use it as a context manager."""

    def __init__(
        self, url: str, key: str, transport: httpx.BaseTransport | None = None, identity: str | None = None
    ) -> None:
        """`identity` distinguishes launchers that share a name; other programs pass None.

        Raises SettingsWrong if no request could be sent, because of the key or of a variable of shared.http_client.
        """
        if not is_sendable(key):
            raise SettingsWrong("The control plane's key holds a character that is not printable ASCII: copy it again.")
        self._identity = {} if identity is None else {IDENTITY_HEADER: identity}
        headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
        given = {} if transport is None else {"transport": transport}
        self._http = open_client(url, headers=headers, timeout=TIMEOUT, **given)

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
        limits: LimitsRequest = DEFAULT_LIMITS,
        not_before: datetime | None = None,
    ) -> OrderView:
        if not is_sendable(idempotency_key):
            raise RequestWrong("The idempotency key holds a character that is not printable ASCII: choose another.")
        headers = {"Idempotency-Key": idempotency_key}
        request = OrderRequest(order=spec, limits=limits, not_before=not_before)
        return self._post("/v1/orders", request, OrderView, headers=headers)

    def get_order(self, order_id: str) -> OrderView:
        return self._send("GET", _path_of(order_id), OrderView)

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
        return self._send("POST", f"{_path_of(order_id)}/cancel", OrderView)

    def requeue_order(self, order_id: str) -> OrderView:
        """Place a failed order again, and return the new order. Repeating the call returns the same new order."""
        return self._send("POST", f"{_path_of(order_id)}/requeue", OrderView)

    def purge_order(self, order_id: str) -> None:
        """Remove an order that has ended, and its output. If there is no such order, do nothing."""
        path = _path_of(order_id)
        response = self._request("DELETE", path)
        raise_for_problem(response)
        if response.status_code != httpx.codes.NO_CONTENT:
            raise Unreachable(f"The answer to DELETE {path} is {response.status_code}; a control plane answers 204.")

    def download_output(self, order: OrderView, to: Path) -> None:
        """Download the order's output to the file `to`, which appears only once its size and SHA-256 were checked.

        Raises NoOutput, OutputMismatch.
        """
        expected = output_of(order)
        save_output(order.id, expected, self._redirect(f"/v1/orders/{order.id}/output"), to)

    def claim(self, request: ClaimById | ClaimNext) -> ClaimAnswer:
        """Claim an order. Raises LaterOrder as well."""
        wait = request.wait_seconds if isinstance(request, ClaimNext) else 0
        answer = self._post("/v1/claims", request, _AnyClaim, timeout=wait + WAIT_MARGIN, headers=self._identity)
        if isinstance(answer.claimed, _Unread):
            raise LaterOrder(answer.claimed.order_id, answer.claimed.epoch)
        return ClaimAnswer(claimed=answer.claimed)

    def update(self, order_id: str, request: UpdateRequest) -> OrderView:
        return self._post(f"/v1/updates/{order_id}", request, OrderView, headers=self._identity)

    def environment(self, order_id: str, request: EnvironmentRequest) -> EnvironmentAnswer:
        """Return the environment of an image that is to run this order, which the launcher holds."""
        return self._post(f"/v1/environments/{order_id}", request, EnvironmentAnswer, headers=self._identity)

    def heartbeat(self, request: HeartbeatRequest) -> HeartbeatAnswer:
        return self._post("/v1/heartbeats", request, HeartbeatAnswer, headers=self._identity)

    def holds(self, launcher: str, namesakes: bool = False) -> HoldsView:
        """Return what the control plane records as held by this launcher, or by all of its name with `namesakes`."""
        headers = {} if namesakes else self._identity
        return self._send("GET", "/v1/holds", HoldsView, params={"launcher": launcher}, headers=headers)

    def sweep(self, request: SweepRequest) -> SweepAnswer:
        return self._post("/v1/sweeps", request, SweepAnswer, timeout=SWEEP_TIMEOUT)

    def _post(self, path: str, body: BaseModel, answer: type[T], **options: Any) -> T:
        headers = {"Content-Type": "application/json"} | options.pop("headers", {})
        return self._send("POST", path, answer, content=body.model_dump_json(), headers=headers, **options)

    def _send(self, method: str, path: str, answer: type[T], **options: Any) -> T:
        response = self._request(method, path, **options)
        raise_for_problem(response)
        try:
            return read_answer(answer, response.content)
        except ValidationError:  # its text repeats the answer, which holds a worker's token
            raise Unreachable(f"The answer to {method} {path} is not one of this version's control plane.") from None

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except httpx.RequestError as error:  # its text may repeat a header
            raise NoAnswer(self._http.base_url, explain(error, self._http.base_url)) from None
        except (httpx.InvalidURL, UnicodeError):
            raise RequestWrong("The request holds a character that cannot be sent.") from None

    def _redirect(self, path: str) -> str:
        response = self._request("GET", path)
        location = response.headers.get("location")
        moved_itself = location is None or location.partition("?")[0].endswith(path)
        if response.is_redirect and not moved_itself:
            return str(location)
        raise_for_problem(response)
        raise Unreachable(f"The answer to GET {path}, {response.status_code}, has no location.")


def _path_of(order_id: str) -> str:
    """Return the path of an order. Raises RequestWrong."""
    if not ORDER_ID.fullmatch(order_id):
        raise RequestWrong("This is no order's id: `launchyard order list` shows the ids of your orders.")
    return f"/v1/orders/{order_id}"
