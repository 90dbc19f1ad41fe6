"""Google's REST APIs: requests with the operator's own credentials, repeated after errors that may pass.

Paths and answers are those of each API's REST reference, https://cloud.google.com/apis/docs/overview; errors are those
of https://cloud.google.com/apis/design/errors.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Protocol

import httpx
import stamina

from deploy.rows import Denied, NotSeen
from shared.http_client import open_client

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
REQUEST_SECONDS: Final = 10.0
BUDGET_SECONDS: Final = 60.0
"""For all requests together: what is not answered by then is not seen."""
PAGE_SIZE: Final = 100
MAX_PAGES: Final = 100
PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
DISABLED: Final = "SERVICE_DISABLED"
POLICY_VERSION: Final = 3
"""Older versions leave out the conditions of grants: https://cloud.google.com/iam/docs/policies#versions."""


class NotThere(NotSeen):
    """The resource does not exist."""

    def __init__(self, path: str) -> None:
        super().__init__(f"there is no {path}", "compare --project, --region and --name with the deployment's")


class LoggedOut(Exception):
    """There are no credentials, or Google does not accept them."""


class MayPass(Exception):
    """No answer, or an error that may go away."""


class Credentials(Protocol):
    def headers(self, url: str) -> Mapping[str, str]:
        """Return the headers that authorise a request. Raises LoggedOut."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The address of each API: Google's own, or `below` another one, or an API's emulator, which takes no token."""

    below: str | None = None
    emulators: Mapping[str, str] | None = None

    def base(self, api: str) -> str:
        if self.is_emulator(api):
            return (self.emulators or {})[api]
        return f"https://{api}.googleapis.com" if self.below is None else f"{self.below}/{api}"

    def is_emulator(self, api: str) -> bool:
        return api in (self.emulators or {})


class Google:
    """`timer` returns seconds. One instance serves many threads, for BUDGET_SECONDS."""

    def __init__(
        self, credentials: Credentials, endpoints: Endpoints, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self.endpoints = endpoints
        self._credentials, self._timer = credentials, timer
        self._ends = timer() + BUDGET_SECONDS
        self._lock = threading.Lock()
        self._clients: dict[str, httpx.Client] = {}

    def get(self, api: str, path: str, **query: str | int) -> dict[str, Any]:
        """Return a resource. Raises NotThere, NotSeen, LoggedOut."""
        return self._ask("GET", api, path, query)

    def list(self, api: str, path: str, items: str, **query: str | int) -> list[dict[str, Any]]:
        """Return all pages of a list, whose field `items` has the resources. Raises NotThere, NotSeen, LoggedOut."""
        found: list[dict[str, Any]] = []
        page: dict[str, str | int] = {"pageSize": PAGE_SIZE}
        for _ in range(MAX_PAGES):
            answer = self._ask("GET", api, path, {**query, **page})
            if answer.get("unreachable"):
                raise NotSeen("Google reached only a part of it", "run the check again")
            found += answer.get(items, [])
            if not (token := answer.get("nextPageToken")):
                return found
            page["pageToken"] = token
        raise NotSeen(f"the list has more than {MAX_PAGES * PAGE_SIZE} entries", "remove what is not used")

    def policy(self, api: str, path: str) -> dict[str, Any]:
        """Return a resource's IAM policy, with conditions. Raises NotThere, NotSeen, LoggedOut."""
        version, asked = POLICY_VERSION, f"{path}:getIamPolicy"
        if api == "cloudresourcemanager":
            return self._ask("POST", api, asked, {}, {"options": {"requestedPolicyVersion": version}})
        method = "POST" if api == "iam" else "GET"
        return self._ask(method, api, asked, {"options.requestedPolicyVersion": version})

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def _ask(
        self, method: str, api: str, path: str, query: Mapping[str, str | int], body: object = None
    ) -> dict[str, Any]:
        try:
            for attempt in stamina.retry_context(on=MayPass, attempts=4, timeout=20.0, wait_initial=0.2, wait_max=3.0):
                with attempt:
                    answer = self._send(method, api, path, query, body)
        except MayPass as error:
            raise NotSeen(str(error), "run the check again") from None
        if answer.status_code == HTTPStatus.FORBIDDEN:
            raise _denied(answer)
        if answer.is_error:
            why = f"{api}.googleapis.com answered {answer.status_code}: {_message(answer)}"
            raise NotSeen(why, "compare the options with the deployment's variables")
        return _document(answer)

    def _send(self, method: str, api: str, path: str, query: Mapping[str, str | int], body: object) -> httpx.Response:
        """Raises MayPass, NotThere, LoggedOut."""
        if (left := self._ends - self._timer()) <= 0:
            raise MayPass(f"the check timed out after {BUDGET_SECONDS:.0f} s")
        client = self._client(api)
        headers = {} if self.endpoints.is_emulator(api) else self._credentials.headers(f"{client.base_url}{path}")
        try:
            answer = client.request(
                method,
                path,
                params=dict(query),
                json=body,
                headers=dict(headers),
                timeout=min(REQUEST_SECONDS, left),
            )
        except httpx.TransportError as error:
            raise MayPass(f"{api}.googleapis.com did not answer ({type(error).__name__})") from None
        if answer.status_code in PASSING:
            raise MayPass(f"{api}.googleapis.com answered {answer.status_code}")
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            raise LoggedOut(f"{api}.googleapis.com does not accept these credentials")
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise NotThere(path)
        return answer

    def _client(self, api: str) -> httpx.Client:
        with self._lock:
            if api not in self._clients:
                self._clients[api] = open_client(self.endpoints.base(api))
            return self._clients[api]


def _denied(answer: httpx.Response) -> NotSeen:
    """Return why a request was forbidden: the API is not enabled, or the caller lacks a role."""
    details = _error(answer).get("details", [])
    reasons = [one for one in details if isinstance(one, dict) and one.get("reason") == DISABLED]
    if reasons:
        metadata = reasons[0].get("metadata", {})
        service, project = metadata.get("service", "its API"), metadata.get("consumer", "").removeprefix("projects/")
        where = f" --project={project}" if project else ""
        return NotSeen(f"{service} is not enabled", f"gcloud services enable {service}{where}")
    return Denied()


def _error(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _message(answer: httpx.Response) -> str:
    return str(_error(answer).get("message", "no message"))[:300]


def _document(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise NotSeen("the answer is not a JSON object", "look at the proxy, if there is one")
    return found
