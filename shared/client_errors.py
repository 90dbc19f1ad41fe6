"""What the Python client of `/v1/…` raises, and for which answers."""

from typing import Final

import httpx
from pydantic import ValidationError

from shared.address import origin
from shared.http_client import moved
from shared.public_address import is_loopback
from shared.wire.base import read_answer
from shared.wire.problems import OTHER_VERSION, Problem

MAX_RETRY_SECONDS: Final = 60.0
"""The longest wait that the control plane can ask of its client."""


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


def raise_for_problem(response: httpx.Response) -> None:
    """Raise what a response that is no success means. Raises Unreachable, QuotaExceeded, OtherVersion, Refused."""
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
