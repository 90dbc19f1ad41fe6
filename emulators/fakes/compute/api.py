"""The fake's REST API, and the control routes through which tests set its behaviour.

GET /control returns the behaviour, the number of calls of each method, and every instance that was ever created. PUT
/control replaces the behaviour. POST /control/clock sets the clock forward.
"""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from werkzeug import Request, Response
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

from emulators.fakes.compute.behaviour import ComputeBehaviour, ComputeMethod, Forward, SimulatedComputeRefusal
from emulators.fakes.compute.engine import ComputeOperation, Engine, Instance
from emulators.fakes.compute.rules import ZONE, Document, wrongs
from emulators.fakes.simulated import NameTaken, NoSuchResource, RequestRefused

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

ROOT: Final = "/compute/v1"
WAIT_SECONDS: Final = 5.0
"""How long a request waits for an operation. Compute Engine's own limit is two minutes."""
POLL_SECONDS: Final = 0.02
FILTER: Final = re.compile(r"labels\.([a-z][a-z0-9_-]*)\s*(?:=|eq)\s*\"?([a-z0-9_-]*)\"?")
ZONES: Final = "/projects/<project>/zones/<zone>"


class LocalCompute:
    """A WSGI application around an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._changed = threading.Condition()
        self._calls: Counter[str] = Counter()
        self._refused: Counter[SimulatedComputeRefusal] = Counter()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        try:
            endpoint, values = ROUTES.bind_to_environ(environ).match()
        except HTTPException as error:
            return error(environ, start_response)
        return self._answer(endpoint, Request(environ), dict(values))(environ, start_response)

    def _answer(self, endpoint: str, request: Request, values: dict[str, str]) -> Response:
        if endpoint == "control":
            return self._control(request)
        if endpoint == "clock":
            self._engine.forward += Forward.model_validate_json(request.get_data()).seconds
            return _json({})
        try:
            method = ComputeMethod(endpoint.partition(" ")[0])
            self._count(method)
            document = self._carry_out(endpoint, request, values)
        except RequestRefused as refused:
            return _refusal(refused)
        except NoSuchResource:
            return _refusal(RequestRefused(404, f"The resource '{request.path}' was not found", "notFound"))
        self._withhold(method)
        return _json(document)

    def _carry_out(self, endpoint: str, request: Request, values: dict[str, str]) -> Document:
        handlers: dict[str, Callable[[Request, dict[str, str]], Document]] = {
            "insert": self._insert,
            "get": lambda _, at: self._instance(self._engine.find((at["project"], at["zone"], at["name"]))),
            "list": self._list,
            "list all": self._list_all,
            "delete": self._delete,
            "operation": lambda _, at: self._operation(self._engine.operation(at["name"])),
            "operation wait": lambda _, at: self._wait(at["name"]),
        }
        self._require_zone(values.get("zone"))
        return handlers[endpoint](request, values)

    def _require_zone(self, zone: str | None) -> None:
        """Raises RequestRefused, with Compute Engine's own message."""
        if zone is not None and (not ZONE.fullmatch(zone) or zone in self._engine.behaviour.no_zones):
            raise RequestRefused(400, f"Invalid value for field 'zone': '{zone}'. Unknown zone.", "invalid")

    def _insert(self, request: Request, at: dict[str, str]) -> Document:
        body, request_id = request.get_json(), request.args.get("requestId", "")
        if wrong := list(wrongs(at["zone"], body, request_id, self._engine.behaviour.lacking)):
            raise RequestRefused(400, wrong[0], "invalid")
        try:
            return self._operation(self._engine.insert(at["project"], at["zone"], body, request_id))
        except NameTaken:
            message = f"The resource '{request.path[len(ROOT) + 1 :]}/{body['name']}' already exists"
            raise RequestRefused(409, message, "alreadyExists") from None

    def _delete(self, request: Request, at: dict[str, str]) -> Document:
        key = (at["project"], at["zone"], at["name"])
        return self._operation(self._engine.delete(key, request.args.get("requestId", "")))

    def _list(self, request: Request, at: dict[str, str]) -> Document:
        page, following = self._page(request, lambda one: one.key[:2] == (at["project"], at["zone"]))
        return {"kind": "compute#instanceList", "items": [self._instance(one) for one in page], **following}

    def _list_all(self, request: Request, at: dict[str, str]) -> Document:
        page, following = self._page(request, lambda one: one.key[0] == at["project"])
        scopes: dict[str, Any] = {}
        for one in page:
            scopes.setdefault(f"zones/{one.key[1]}", {"instances": []})["instances"].append(self._instance(one))
        return {"kind": "compute#instanceAggregatedList", "items": scopes, **following}

    def _page(self, request: Request, chosen: Callable[[Instance], bool]) -> tuple[list[Instance], Document]:
        """Return the instances of the requested page, and the token of the next page."""
        labels = dict(_conditions(request.args.get("filter", "")))
        found = self._engine.those(lambda one: chosen(one) and labels.items() <= one.body.get("labels", {}).items())
        found = [one for one in found if one.key[1] not in self._engine.behaviour.unseen]
        begin = int(request.args.get("pageToken") or 0)
        end = begin + min(int(request.args.get("maxResults") or 500), self._engine.behaviour.page_size)
        return found[begin:end], {"nextPageToken": str(end)} if end < len(found) else {}

    def _wait(self, name: str) -> Document:
        deadline = time.monotonic() + WAIT_SECONDS
        while (document := self._operation(self._engine.operation(name)))["status"] != "DONE":
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
        return document

    def _instance(self, instance: Instance) -> Document:
        project, zone, name = instance.key
        address = f"https://www.googleapis.com{ROOT}/projects/{project}/zones/{zone}"
        return {
            **instance.body,
            "kind": "compute#instance",
            "id": str(instance.id),
            "status": instance.status(self._engine.now()),
            "zone": address,
            "selfLink": f"{address}/instances/{name}",
        }

    def _operation(self, operation: ComputeOperation) -> Document:
        project, zone, name = operation.key
        address = f"https://www.googleapis.com{ROOT}/projects/{project}/zones/{zone}"
        done = self._engine.now() >= operation.done_at
        document: dict[str, Any] = {
            "kind": "compute#operation",
            "name": operation.name,
            "operationType": operation.kind,
            "status": "DONE" if done else "RUNNING",
            "targetLink": f"{address}/instances/{name}",
            "zone": address,
        }
        return {**document, **(_failure(operation.error, zone) if done and operation.error else {})}

    def _count(self, method: ComputeMethod) -> None:
        """Count a request, and refuse it if the behaviour says so. Raises RequestRefused."""
        behaviour = self._engine.behaviour
        time.sleep(behaviour.latency_seconds)
        with self._changed:
            self._calls[method] += 1
            for refusal in behaviour.refusals:
                used = self._refused[refusal]
                if refusal.method is method and (refusal.times is None or used < refusal.times):
                    self._refused[refusal] += 1
                    raise RequestRefused(refusal.status, refusal.message, refusal.reason)

    def _withhold(self, method: ComputeMethod) -> None:
        """Wait while the method is silent."""
        with self._changed:
            self._changed.wait_for(lambda: method not in self._engine.behaviour.silent)

    def _control(self, request: Request) -> Response:
        with self._changed:
            if request.method == "PUT":
                self._engine.behaviour = ComputeBehaviour.model_validate_json(request.get_data())
                self._refused.clear()
                self._changed.notify_all()
            calls = dict(self._calls)
        there = self._engine.those(lambda _: True)
        return _json(
            {
                "behaviour": self._engine.behaviour.model_dump(mode="json"),
                "calls": calls,
                "instances": [self._instance(one) for one in there],
                "made": [self._instance(one) for one in self._engine.made],
            }
        )


ROUTES: Final = Map(
    [
        Rule("/control", endpoint="control", methods=["GET", "PUT"]),
        Rule("/control/clock", endpoint="clock", methods=["POST"]),
        Rule(f"{ROOT}{ZONES}/instances", endpoint="insert", methods=["POST"]),
        Rule(f"{ROOT}{ZONES}/instances", endpoint="list", methods=["GET"]),
        Rule(f"{ROOT}{ZONES}/instances/<name>", endpoint="get", methods=["GET"]),
        Rule(f"{ROOT}{ZONES}/instances/<name>", endpoint="delete", methods=["DELETE"]),
        Rule(f"{ROOT}/projects/<project>/aggregated/instances", endpoint="list all", methods=["GET"]),
        Rule(f"{ROOT}{ZONES}/operations/<name>", endpoint="operation", methods=["GET"]),
        Rule(f"{ROOT}{ZONES}/operations/<name>/wait", endpoint="operation wait", methods=["POST"]),
    ]
)


def _conditions(text: str) -> Iterator[tuple[str, str]]:
    """Yield the labels that a filter asks for, all of which an instance must have. Raises RequestRefused."""
    for term in filter(None, text.split(" AND ")):
        condition = FILTER.fullmatch(term.strip().strip("()"))
        if condition is None:
            raise RequestRefused(400, f"Invalid value for field 'filter': '{text}'.", "invalid")
        yield condition[1], condition[2]


def _failure(code: str, zone: str) -> Document:
    message = f"The fake simulates that {zone} has none left."
    status, words = (403, "FORBIDDEN") if code == "QUOTA_EXCEEDED" else (503, "SERVICE UNAVAILABLE")
    errors = [{"code": code, "message": message}]
    return {"error": {"errors": errors}, "httpErrorStatusCode": status, "httpErrorMessage": words}


def _refusal(refused: RequestRefused) -> Response:
    errors = [{"message": refused.message, "domain": "global", "reason": refused.reason}]
    error = {"code": refused.status, "message": refused.message, "errors": errors}
    return _json({"error": error}, refused.status)


def _json(document: Document, status: int = 200) -> Response:
    return Response(json.dumps(document), status, content_type="application/json")
