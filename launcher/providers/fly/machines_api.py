"""Fly's Machines API as this launcher uses it, at a pace that keeps Fly's limits. https://docs.machines.dev"""

import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final

import httpx
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from launcher.providers.fly.errors import FlyError, FlyRefusalKind, FlyRefused, FlyUnreachable
from launcher.providers.fly.pacing import Action, Pacers
from shared.http_client import explain, open_client
from shared.secret import Secret

CREATE_SECONDS: Final = 30.0
CALL_SECONDS: Final = 20.0
REPEATABLE_TRIES: Final = 3
"""How often a request is sent that may be repeated, if it is not answered."""
MAX_RESTS: Final = 10
"""How often a request is sent again because there were too many. Other programs may use the same app."""
REST_SECONDS: Final = range(1, 60 + 1)
"""The limits of a rest that Fly asks for."""
RETRYABLE: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT})

UP: Final = frozenset({"started"})
DESTROYED: Final = frozenset({"destroying", "destroyed"})
ENDED: Final = DESTROYED | {"stopped", "suspended", "failed", "launch_failed"}


class _Answer(BaseModel):
    """Members that it does not name are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Exit(_Answer):
    exit_code: int | None = None


class _Request(_Answer):
    exit_event: _Exit | None = None


class _Event(_Answer):
    type: str = ""
    request: _Request | None = None


class _Config(_Answer):
    metadata: dict[str, str] | None = None


class FoundMachine(_Answer):
    """A machine that exists, or that was destroyed a short while ago."""

    id: Annotated[str, Field(min_length=1)]
    name: str
    state: str
    region: str = ""
    config: _Config | None = None
    events: tuple[_Event, ...] | None = None

    @property
    def place(self) -> str:
        return self.region

    @property
    def marks(self) -> Mapping[str, str]:
        return (self.config and self.config.metadata) or {}

    @property
    def up(self) -> bool:
        return self.state in UP

    @property
    def ended(self) -> bool:
        """Return whether its program does not run any more."""
        return self.state in ENDED

    @property
    def ending(self) -> bool:
        """Return whether it is destroyed, or is about to be."""
        return self.state in DESTROYED

    @property
    def exit_code(self) -> int | None:
        """Return its program's exit code; None if Fly has none."""
        exits = (one.request.exit_event for one in self.events or () if one.type == "exit" and one.request)
        return next((one.exit_code for one in exits if one is not None), None)


LISTED: Final = TypeAdapter(tuple[FoundMachine, ...])


class MachinesApi:
    """One app's machines, for any number of threads. Every method raises FlyRefused and FlyUnreachable."""

    def __init__(self, endpoint: str, app: str, token: Secret, pacers: Pacers) -> None:
        """Raises SettingsWrong if the environment's proxy cannot be used."""
        self._pacers = pacers
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"}
        self._http = open_client(endpoint, headers=headers, timeout=CALL_SECONDS)
        self._machines = f"/v1/apps/{app}/machines"

    def create(self, body: Mapping[str, Any]) -> FoundMachine:
        """Ask for a machine, once."""
        image = body.get("config", {}).get("image")
        return _found(self._sent(Action.CREATE, "POST", "", image, json=body, timeout=CREATE_SECONDS))

    def get(self, machine_id: str) -> FoundMachine | None:
        """Return a machine, or None if Fly does not know it (any more)."""
        try:
            return _found(self._repeated(Action.READ, "GET", f"/{machine_id}"))
        except FlyRefused as refused:
            if refused.kind is FlyRefusalKind.NO_MACHINE:
                return None
            raise

    def marked(self, marks: Mapping[str, str]) -> tuple[FoundMachine, ...]:
        """Return the machines that are not destroyed and have all these marks."""
        query = {f"metadata.{name}": value for name, value in marks.items()}
        answer = self._repeated(Action.READ, "GET", "", params=query)
        try:
            return LISTED.validate_json(answer.content)
        except ValidationError as error:
            raise FlyUnreachable("the answer is not a list of machines") from error

    def stop(self, machine_id: str) -> None:
        """Ask a machine to end, by SIGTERM at first. One that is gone is no error."""
        self._without_end(Action.STOP, "POST", f"/{machine_id}/stop")

    def destroy(self, machine_id: str) -> None:
        """End a machine at once, and have it destroyed. One that is gone is no error."""
        self._without_end(Action.DELETE, "DELETE", f"/{machine_id}", params={"force": "true"})

    def _without_end(self, action: Action, verb: str, path: str, **options: Any) -> None:
        try:
            self._repeated(action, verb, path, **options)
        except FlyRefused as refused:
            if refused.kind is not FlyRefusalKind.NO_MACHINE:
                raise

    def _repeated(self, action: Action, verb: str, path: str, **options: Any) -> httpx.Response:
        for _ in range(REPEATABLE_TRIES - 1):
            try:
                return self._sent(action, verb, path, **options)
            except FlyUnreachable:
                continue  # the pacer spaces the tries
        return self._sent(action, verb, path, **options)

    def _sent(self, action: Action, verb: str, path: str, image: str | None = None, **options: Any) -> httpx.Response:
        """Send a request at its time. If Fly has had too many, rest as long as it asks for, and send it again."""
        pacer = self._pacers.of(action)
        for _ in range(MAX_RESTS):
            pacer.wait()
            try:
                answer = self._http.request(verb, self._machines + path, **options)
            except httpx.TransportError as error:
                raise FlyUnreachable(explain(error, self._http.base_url)) from error
            if answer.status_code != HTTPStatus.TOO_MANY_REQUESTS:
                break
            pacer.rest(_retry_after(answer))
        if answer.is_success:
            return answer
        raise _error(answer, image)


def system_pacers() -> Pacers:
    return Pacers(time.monotonic, time.sleep)


def _found(answer: httpx.Response) -> FoundMachine:
    try:
        return FoundMachine.model_validate_json(answer.content)
    except ValidationError as error:  # a proxy may answer 200 with a page of its own
        raise FlyUnreachable("the answer is not a machine") from error


def _error(answer: httpx.Response, image: str | None) -> FlyError:
    refused = FlyRefused(answer.status_code, _message(answer), image)
    if refused.kind in (FlyRefusalKind.FULL, FlyRefusalKind.LIMIT):
        return refused
    if answer.is_server_error or answer.is_redirect or answer.status_code in RETRYABLE:
        return FlyUnreachable(f"{answer.status_code} {answer.reason_phrase}")
    return refused


def _message(answer: httpx.Response) -> str:
    """Return the text of a refusal. Fly has sent it as `error` and as `message`."""
    try:
        document = answer.json()
    except ValueError:
        return answer.reason_phrase
    if not isinstance(document, dict):
        return answer.reason_phrase
    texts = (document.get(name) for name in ("error", "message", "status"))
    return " ".join(text for text in texts if isinstance(text, str)) or answer.reason_phrase


def _retry_after(answer: httpx.Response) -> int:
    """Return the seconds that Fly asks for, within REST_SECONDS."""
    text = answer.headers.get("Retry-After", "")
    seconds = int(text) if text.isdecimal() else REST_SECONDS.start
    return min(max(seconds, REST_SECONDS.start), REST_SECONDS.stop - 1)
