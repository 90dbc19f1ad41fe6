"""The fake's REST API, and the control route through which tests set its behaviour.

GET /fake returns the behaviour, the number of requests, those above the limits, and every machine that was ever
created, with its environment. PUT /fake replaces the behaviour. Both ask for the token.
"""

import hmac
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from werkzeug import Request, Response
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

from emulators.fakes.fly.behaviour import FlyBehaviour, FlyMethod, SimulatedFlyRefusal
from emulators.fakes.fly.limits import FlyLimits
from emulators.fakes.fly.machines import Machines, StillRuns
from emulators.fakes.fly.rules import REGIONS, BodyWrong, NewMachine, parse
from emulators.fakes.simulated import NameTaken, NoSuchResource, RequestRefused

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

DEFAULT_REGION: Final = "iad"
POLL_SECONDS: Final = 0.02
MAX_WAIT_SECONDS: Final = 60.0
METADATA: Final = "metadata."
ALL: Final = "/v1/apps/<app>/machines"
ONE: Final = f"{ALL}/<machine_id>"
OF_APP: Final = frozenset({FlyMethod.CREATE, FlyMethod.LIST})
"""Their limits are for each app; those of the other methods for each machine."""


class LocalFly:
    """A WSGI application around one app's machines."""

    def __init__(self, machines: Machines, token: str, limits: FlyLimits | None = None) -> None:
        self._machines, self._token = machines, token
        self._limits = limits or FlyLimits(machines.clock)
        self._changed = threading.Condition()
        self._refused: Counter[SimulatedFlyRefusal] = Counter()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        try:
            endpoint, values = ROUTES.bind_to_environ(environ).match()
        except HTTPException as error:
            return error(environ, start_response)
        request = Request(environ)
        if endpoint != "fake":
            answer = self._answer(FlyMethod(endpoint), request, values)
        elif self._has_token(request):
            answer = self._control(request)
        else:
            answer = _refusal(RequestRefused(HTTPStatus.UNAUTHORIZED, "unauthorized"))
        return answer(environ, start_response)

    def _answer(self, method: FlyMethod, request: Request, values: Mapping[str, Any]) -> Response:
        time.sleep(self._machines.behaviour.latency_seconds)
        try:
            self._authorise(request, values["app"])
            self._admit(method, values)
            document = self._carry_out(method, request, values.get("machine_id", ""))
        except RequestRefused as refused:
            return _refusal(refused)
        except NoSuchResource:
            return _refusal(RequestRefused(HTTPStatus.NOT_FOUND, "machine not found"))
        with self._changed:
            self._changed.wait_for(lambda: method not in self._machines.behaviour.silent)
        return _json(document)

    def _authorise(self, request: Request, app: str) -> None:
        """Raises RequestRefused."""
        if not self._has_token(request):
            raise RequestRefused(HTTPStatus.UNAUTHORIZED, "unauthorized")
        if app != self._machines.app:
            raise RequestRefused(HTTPStatus.NOT_FOUND, "app not found")

    def _has_token(self, request: Request) -> bool:
        sent = request.headers.get("Authorization", "")
        return hmac.compare_digest(sent.encode(), f"Bearer {self._token}".encode())

    def _admit(self, method: FlyMethod, values: Mapping[str, Any]) -> None:
        """Count a request; refuse it if it is above the limit, or if the behaviour says so. Raises RequestRefused."""
        subject = values["app"] if method in OF_APP else values["machine_id"]
        if not self._limits.admit(method, subject):
            raise RequestRefused(HTTPStatus.TOO_MANY_REQUESTS, "rate limit exceeded")
        with self._changed:
            for refusal in self._machines.behaviour.refusals:
                used = self._refused[refusal]
                if refusal.method is method and (refusal.times is None or used < refusal.times):
                    self._refused[refusal] += 1
                    raise RequestRefused(refusal.status, refusal.message)

    def _carry_out(self, method: FlyMethod, request: Request, machine_id: str) -> object:
        """Raises RequestRefused, NoSuchResource."""
        match method:
            case FlyMethod.CREATE:
                return self._create(request)
            case FlyMethod.LIST:
                asked = {name.removeprefix(METADATA): text for name, text in request.args.items()}
                return [machine.show() for machine in self._machines.with_metadata(asked)]
            case FlyMethod.GET:
                return self._machines.find(machine_id).show()
            case FlyMethod.WAIT:
                return self._wait(machine_id, request)
            case FlyMethod.STOP:
                self._machines.stop(machine_id)
            case FlyMethod.DELETE:
                self._destroy(machine_id, force=request.args.get("force") == "true")
        return {"ok": True}

    def _create(self, request: Request) -> object:
        """Raises RequestRefused, with Fly's messages."""
        try:
            new = parse(request.get_data())
        except BodyWrong as error:
            raise RequestRefused(HTTPStatus.BAD_REQUEST, str(error)) from None
        region = new.region or DEFAULT_REGION
        self._require_image_and_room(new, region)
        try:
            made = self._machines.create(new.name, region, new.config, json.loads(request.get_data())["config"])
        except NameTaken as taken:
            violation = f"unique machine name violation, machine ID {taken} already exists with name {new.name}"
            raise RequestRefused(self._machines.behaviour.name_taken, f"already_exists: {violation}") from None
        return made.show()

    def _require_image_and_room(self, new: NewMachine, region: str) -> None:
        if region not in REGIONS:
            raise RequestRefused(HTTPStatus.BAD_REQUEST, f"invalid_argument: region {region} not found")
        if not self._machines.programs.knows(new.config.image):
            message = f"failed to get manifest {new.config.image}: request failed: not found [http 404]"
            raise RequestRefused(HTTPStatus.BAD_REQUEST, message)
        if region in self._machines.behaviour.full:
            message = (
                "aborted: insufficient resources available to fulfill request: could not reserve resource for machine"
            )
            raise RequestRefused(HTTPStatus.UNPROCESSABLE_ENTITY, message)

    def _destroy(self, machine_id: str, force: bool) -> None:
        """Raises RequestRefused, NoSuchResource."""
        try:
            self._machines.destroy(machine_id, force)
        except StillRuns as error:
            message = f"failed_precondition: unable to destroy machine, its state is {error}"
            raise RequestRefused(HTTPStatus.PRECONDITION_FAILED, message) from None

    def _wait(self, machine_id: str, request: Request) -> object:
        """Wait until the machine has the state. Raises RequestRefused, NoSuchResource."""
        wanted = request.args.get("state", "started")
        deadline = time.monotonic() + min(request.args.get("timeout", MAX_WAIT_SECONDS, float), MAX_WAIT_SECONDS)
        while self._machines.find(machine_id).state != wanted:
            if time.monotonic() > deadline:
                raise RequestRefused(HTTPStatus.REQUEST_TIMEOUT, f"deadline_exceeded: machine is not {wanted}")
            time.sleep(POLL_SECONDS)
        return {"ok": True}

    def _control(self, request: Request) -> Response:
        with self._changed:
            if request.method == "PUT":
                self._machines.behaviour = FlyBehaviour.model_validate_json(request.get_data())
                self._refused.clear()
                self._changed.notify_all()
        self._machines.settle()
        return _json(
            {
                "behaviour": self._machines.behaviour.model_dump(mode="json"),
                "calls": self._limits.calls,
                "above_limits": self._limits.above,
                "made": [machine.show() for machine in self._machines.made.values()],
            }
        )


ROUTES: Final = Map(
    [
        Rule("/fake", endpoint="fake", methods=["GET", "PUT"]),
        Rule(ALL, endpoint=FlyMethod.CREATE, methods=["POST"]),
        Rule(ALL, endpoint=FlyMethod.LIST, methods=["GET"]),
        Rule(ONE, endpoint=FlyMethod.GET, methods=["GET"]),
        Rule(ONE, endpoint=FlyMethod.DELETE, methods=["DELETE"]),
        Rule(f"{ONE}/wait", endpoint=FlyMethod.WAIT, methods=["GET"]),
        Rule(f"{ONE}/stop", endpoint=FlyMethod.STOP, methods=["POST"]),
    ]
)


def _refusal(refused: RequestRefused) -> Response:
    answer = _json({"error": refused.message}, refused.status)
    if refused.status == HTTPStatus.TOO_MANY_REQUESTS:
        answer.headers["Retry-After"] = "1"
    return answer


def _json(document: object, status: int = HTTPStatus.OK) -> Response:
    return Response(json.dumps(document), status, content_type="application/json")
