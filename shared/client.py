"""The Python client of `/v1/…`, for launchers, the command line and other programs."""

import hashlib
import re
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Final, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from shared.address import origin, parse
from shared.domain.order import ORDER_ID_PATTERN, State
from shared.domain.spec import AnySpec, OrderKind
from shared.http_client import explain, moved, open_client
from shared.public_address import is_loopback
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
from shared.wire.orders import LimitsRequest, OrderList, OrderRequest, OrderView, OutputView
from shared.wire.problems import OTHER_VERSION, Problem

T = TypeVar("T", bound=Answer)

TIMEOUT: Final = httpx.Timeout(15.0)
WAIT_MARGIN: Final = 15.0
"""Seconds to wait for a claim's answer, in addition to the claim's own wait."""
MAX_RETRY_SECONDS: Final = 60.0
"""The longest wait that the control plane can ask of its client."""
SWEEP_TIMEOUT: Final = 60.0
"""Seconds. If a sweep were requested again before it ended, two sweeps would do the same work."""
CHUNK: Final = 1 << 20
RAW: Final = {"Accept-Encoding": "identity"}
"""Asks a server not to compress its answer."""
ORDER_ID: Final = re.compile(ORDER_ID_PATTERN)
DEFAULT_LIMITS: Final = LimitsRequest()
"""Leaves every limit to the default for the order's kind."""


class ControlPlaneError(Exception):
    """The request failed: `Refused` if the control plane refused it, `Unreachable` if there was no usable answer."""


class RequestWrong(ControlPlaneError):
    """The request cannot be sent. Nothing was sent, and repeating it fails in the same way."""


class Unreachable(ControlPlaneError):
    """No answer, or one that means “try again” (5xx, 429, 408). The request may or may not have been carried out."""


class QuotaExceeded(Unreachable):
    """A quota of the account or launcher is used up (429). Send the same request again after `retry_seconds`."""

    def __init__(self, message: str, retry_seconds: float) -> None:
        self.retry_seconds = retry_seconds
        super().__init__(message)


class OtherVersion(Unreachable):
    """The instance that answered cannot read this order, which another version wrote. It serves everything else."""


class NoAnswer(Unreachable):
    """Nothing answered at the control plane's address."""

    def __init__(self, url: httpx.URL, why: str) -> None:
        self.local = is_loopback(url.host)
        super().__init__(f"The control plane at {origin(url)} did not answer: {why}.")


class LaterOrder(ControlPlaneError):
    """The claimed order was placed by a later version, and this one cannot read it. The claim holds it at `epoch`."""

    def __init__(self, order_id: str, epoch: int) -> None:
        self.order_id, self.epoch = order_id, epoch
        super().__init__(f"The order {order_id} was placed by a later version than this launcher: update the launcher.")


class NoOutput(ControlPlaneError):
    """The order has no output to download."""


class OutputMismatch(ControlPlaneError):
    """The object in the bucket differs from what the order's worker reported."""


class Refused(ControlPlaneError):
    """The control plane refused the request, and will again. `problem` explains why (RFC 9457)."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        details = "".join(f"\n  {error.field}: {error.message}" for error in problem.errors)
        super().__init__(f"{problem.detail}{details}")

    @property
    def code(self) -> str:
        """The last segment of the problem's type, such as `lease_lost`."""
        return _code(self.problem)


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
        _raise_for_problem(response)
        if response.status_code != httpx.codes.NO_CONTENT:
            raise Unreachable(f"The answer to DELETE {path} is {response.status_code}; a control plane answers 204.")

    def download_output(self, order: OrderView, to: Path) -> None:
        """Download the order's output to the file `to`, which appears only once its size and SHA-256 were checked.

        Raises NoOutput, OutputMismatch.
        """
        expected = output_of(order)
        location = self._redirect(f"/v1/orders/{order.id}/output")
        partial = to.with_name(f".{to.name}.partial")
        try:
            _check(order, expected, *_download(location, partial, expected.size))
            partial.replace(to)
        finally:
            partial.unlink(missing_ok=True)

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
        _raise_for_problem(response)
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
        _raise_for_problem(response)
        raise Unreachable(f"The answer to GET {path}, {response.status_code}, has no location.")


def output_of(order: OrderView) -> OutputView:
    """Return the order's output. Raises NoOutput."""
    if order.output is None:
        raise NoOutput(f"Order {order.id} is {order.state}; it has no output to download.")
    return order.output


def _download(location: str, to: Path, most: int) -> tuple[int, str]:
    """Write the object at `location` to the file `to`; return its size in bytes, and its SHA-256 in hex.

    The bytes are written as they were stored: whoever uploaded an object may have marked it as compressed, and a few
    compressed bytes may stand for gigabytes. The download ends once there are more than `most` bytes; these are not
    written, and the size is that of what came until then.
    """
    digest, size = hashlib.sha256(), 0
    try:
        bucket = parse(location)
    except ValueError as error:
        raise Unreachable(f"The control plane redirected to an address that is wrong: {error}.") from None
    try:
        with (
            open_client(origin(bucket), timeout=TIMEOUT) as http,
            http.stream("GET", bucket, headers=RAW) as response,
            to.open("wb") as file,
        ):
            if not response.is_success:
                raise Unreachable(f"The bucket answered {response.status_code} to the download.")
            for chunk in response.iter_raw(CHUNK):
                size += len(chunk)
                if size > most:
                    break
                file.write(chunk)
                digest.update(chunk)
    except httpx.HTTPError as error:
        raise Unreachable(f"The download from the bucket failed: {explain(error, bucket)}.") from None
    return size, digest.hexdigest()


def _check(order: OrderView, expected: OutputView, size: int, sha256: str) -> None:
    if size > expected.size:
        difference = f"is longer than {expected.size} bytes"
    elif size < expected.size:
        difference = f"is {size} bytes long instead of {expected.size}"
    elif expected.sha256 is not None and sha256 != expected.sha256:
        difference = f"has the SHA-256 {sha256} instead of {expected.sha256}"
    else:
        return
    raise OutputMismatch(f"The object in the bucket for order {order.id} {difference}. The download was discarded.")


def _path_of(order_id: str) -> str:
    """Return the path of an order. Raises RequestWrong."""
    if not ORDER_ID.fullmatch(order_id):
        raise RequestWrong("This is no order's id: `launchyard order list` shows the ids of your orders.")
    return f"/v1/orders/{order_id}"


def _raise_for_problem(response: httpx.Response) -> None:
    if response.is_redirect:
        raise Unreachable(moved(response))
    if response.status_code < 400:
        return
    problem = _problem(response)
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        said = "The control plane answered 429." if problem is None else problem.detail
        raise QuotaExceeded(said, _retry_seconds(response))
    if response.status_code >= 500 or response.status_code == httpx.codes.REQUEST_TIMEOUT:
        if problem is not None and _code(problem) == OTHER_VERSION:
            raise OtherVersion(problem.detail)
        raise Unreachable(f"The control plane answered {response.status_code}.")
    if problem is None:
        message = f"A server that is no control plane answered {response.status_code}"
        raise Unreachable(f"{message}: check the address, {origin(response.url)}.")
    raise Refused(problem)


def _retry_seconds(response: httpx.Response) -> float:
    """Return the seconds that the header Retry-After asks for, at most MAX_RETRY_SECONDS; that many for a date."""
    text = response.headers.get("Retry-After", "1")
    return min(float(text), MAX_RETRY_SECONDS) if text.isascii() and text.isdigit() else MAX_RETRY_SECONDS


def _problem(response: httpx.Response) -> Problem | None:
    """Parse a problem document; return None if the answer is not one."""
    try:
        return read_answer(Problem, response.content)
    except ValidationError:
        return None


def _code(problem: Problem) -> str:
    """Return the last segment of the problem's type."""
    return problem.type.rsplit(":", 1)[-1]
