"""The fake's REST APIs, each below a path of its name, and the token endpoint that service accounts' keys name.

A request needs the token. An API that is not among the project's enabled services refuses all requests.
"""

import json
import socket
import threading
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from werkzeug import Request, Response

from tests.harness.google_project.behaviour import Behaviour
from tests.harness.google_project.resources import Document, Resources, items_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

TOKEN: Final = "ya29.a-token-of-the-fake"  # it opens this fake alone
ALWAYS: Final = frozenset({"serviceusage"})
"""Which APIs are enabled can be asked even if no API is."""
GET_POLICY: Final = ":getIamPolicy"
BUCKET_POLICY: Final = "/iam"
POSTED: Final = frozenset({"cloudresourcemanager", "iam"})
"""The APIs whose getIamPolicy is a POST."""
WITH_CONDITIONS: Final = 3
OVERRIDDEN: Final = "indexConfig.usesAncestorConfig=false"


class RequestRefused(Exception):
    def __init__(self, status: int, message: str, **details: Any) -> None:
        super().__init__(message)
        self.status, self.message, self.details = status, message, details


class FakeGoogle:
    """A WSGI application around one project. `asked` are the paths of all requests so far."""

    def __init__(self, project: str, resources: Resources, behaviour: Behaviour | None = None) -> None:
        self.project, self.resources = project, resources
        self.behaviour = behaviour or Behaviour()
        self.asked: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        if request.path == "/token":
            return _json({"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"})(environ, start_response)
        with self._lock:
            self.asked.append(request.path.lstrip("/"))
        if self.behaviour.is_silent(request.path.lstrip("/")):
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return ()
        try:
            answer = _json(self._answer(request))
        except RequestRefused as refused:
            answer = _refusal(refused)
        return answer(environ, start_response)

    def _answer(self, request: Request) -> Document:
        """Raises RequestRefused."""
        path = request.path.lstrip("/")
        api = path.partition("/")[0]
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise RequestRefused(HTTPStatus.UNAUTHORIZED, "Request had invalid authentication credentials.")
        with self._lock:
            failure = self.behaviour.failure(path)
        if failure is not None:
            raise RequestRefused(failure, "The fake simulates a failure.")
        if api not in ALWAYS and f"serviceusage/v1/projects/{self.project}/services/{api}.googleapis.com" not in (
            self.resources.documents
        ):
            raise _disabled(api, self.project)
        if self.behaviour.denies(path):
            raise RequestRefused(HTTPStatus.FORBIDDEN, f"Permission denied on resource {path}.")
        if path.endswith((GET_POLICY, BUCKET_POLICY)):
            return self._policy(api, path, request)
        if request.method != "GET":
            raise RequestRefused(HTTPStatus.METHOD_NOT_ALLOWED, "The fake can only be looked at.")
        if (items := items_of(path)) is not None:
            return self._page(path, items, request)
        if path.endswith("/keys"):  # of a service account
            return {"keys": self.resources.children(path)} if self.resources.children(path) else {}
        return self._document(path)

    def _document(self, path: str) -> Document:
        try:
            return self.resources.documents[path]
        except KeyError:
            raise RequestRefused(HTTPStatus.NOT_FOUND, f"{path} was not found.") from None

    def _page(self, path: str, items: str, request: Request) -> Document:
        asked = request.args.get("filter", "")
        if path.endswith("/fields") and OVERRIDDEN not in asked:
            raise RequestRefused(HTTPStatus.BAD_REQUEST, "Only fields that were overridden can be listed.")
        found = self.resources.children(path)
        first = int(request.args.get("pageToken", "0"))
        last = first + min(self.behaviour.page_size, request.args.get("pageSize", 100, int))
        page: Document = {items: found[first:last]} if found[first:last] else {}
        return page | ({"nextPageToken": str(last)} if last < len(found) else {})

    def _policy(self, api: str, path: str, request: Request) -> Document:
        if (request.method == "POST") != (api in POSTED):
            raise RequestRefused(HTTPStatus.NOT_FOUND, "The requested URL was not found on this server.")
        resource = path.removesuffix(GET_POLICY).removesuffix(BUCKET_POLICY)
        self._document(resource)
        body: Mapping[str, Any] = json.loads(request.get_data() or b"{}")
        if body and api != "cloudresourcemanager":
            raise RequestRefused(HTTPStatus.BAD_REQUEST, "Invalid JSON payload received. Unknown name.")
        in_query = request.args.get("options.requestedPolicyVersion") or request.args.get(
            "optionsRequestedPolicyVersion"
        )
        version = int(in_query or body.get("options", {}).get("requestedPolicyVersion", 1))
        bindings = [_shown(binding, version) for binding in self.resources.policies[resource] if binding["members"]]
        policy: Document = {"etag": "BwYFAKE=", "version": version if bindings else 1}
        return policy | ({"bindings": bindings} if bindings else {})


def _shown(binding: Document, version: int) -> Document:
    """Return a binding; before version 3, one with a condition shows only that it has one."""
    if "condition" not in binding or version >= WITH_CONDITIONS:
        return binding
    return {"role": f"{binding['role']}_withcond_0123456789abcdef", "members": binding["members"]}


def _disabled(api: str, project: str) -> RequestRefused:
    service = f"{api}.googleapis.com"
    metadata = {"service": service, "consumer": f"projects/{project}"}
    detail = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "SERVICE_DISABLED",
        "domain": "googleapis.com",
        "metadata": metadata,
    }
    message = f"{service} has not been used in project {project} before or it is disabled."
    return RequestRefused(HTTPStatus.FORBIDDEN, message, details=[detail])


def _refusal(refused: RequestRefused) -> Response:
    status = HTTPStatus(refused.status).name
    error = {"code": refused.status, "message": refused.message, "status": status, **refused.details}
    return _json({"error": error}, refused.status)


def _json(document: object, status: int = HTTPStatus.OK) -> Response:
    return Response(json.dumps(document), status, content_type="application/json")
