"""Compute Engine as this launcher uses it: each call has a timeout, and is repeated a few times if that may help.

Only a launcher that serves `gcp` imports this module, because Google's client takes seconds to import.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeVar

import stamina
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError, TransportError
from google.protobuf.json_format import ParseError  # type: ignore[import-untyped]
from requests import RequestException

from launcher.providers.gcp.clients import Instance, InstancesClient, Operation, ZoneOperationsClient
from launcher.providers.gcp.errors import LEFT_NOTHING, RATE, ComputeRefused, ComputeUnreachable

T = TypeVar("T")

CALL_SECONDS: Final = 20.0
CALL_OPTIONS: Final[Mapping[str, Any]] = {"timeout": CALL_SECONDS, "retry": None}
"""The options of every call. The client's own retries are off: they last ten minutes, and cover only some answers."""
ATTEMPTS: Final = 5
RETRY_SECONDS: Final = 45.0
FIRST_WAIT_SECONDS: Final = 0.2
RETRYABLE: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
PLAIN: Final = "http://"
"""The prefix of an address that is not Google's. It asks for no credentials, and none are sent in clear."""
ENDING: Final = frozenset({"STOPPING"})
"""The status of an instance that is being stopped or deleted; its next status shows which."""
ENDED: Final = frozenset({"STOPPING", "STOPPED", "TERMINATED", "SUSPENDING", "SUSPENDED"})


@dataclass(frozen=True, slots=True)
class FoundInstance:
    """An instance that exists. It has `ended` if it does not run any more."""

    zone: str
    name: str
    status: str
    labels: Mapping[str, str]

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def ending(self) -> bool:
        return self.status in ENDING

    @property
    def place(self) -> str:
        return self.zone

    @property
    def marks(self) -> Mapping[str, str]:
        return self.labels


class Compute:
    """One project's instances, for any number of threads. Every method raises ComputeRefused and ComputeUnreachable."""

    def __init__(self, project: str, endpoint: str | None) -> None:
        self._project = project
        with _translated():
            arguments = _client_arguments(endpoint)
            self._instances, self._operations = InstancesClient(**arguments), ZoneOperationsClient(**arguments)

    def insert(self, zone: str, instance: Mapping[str, Any], request_id: str) -> str:
        """Ask for an instance and return the operation's name. The same request twice makes one instance."""
        request = {
            "project": self._project,
            "zone": zone,
            "instance_resource": dict(instance),
            "request_id": request_id,
        }
        return str(_repeated(lambda: self._instances.insert_unary(request, **CALL_OPTIONS)).name)

    def delete(self, zone: str, name: str) -> str | None:
        """Ask to delete an instance and return the operation's name; None if there is no such instance."""
        request = {"project": self._project, "zone": zone, "instance": name}
        try:
            return str(_repeated(lambda: self._instances.delete_unary(request, **CALL_OPTIONS)).name)
        except ComputeRefused as refused:
            if refused.not_found:
                return None
            raise

    def await_operation(self, zone: str, operation: str) -> bool:
        """Wait for a while; return whether the operation is done. Raises ComputeRefused if it failed."""
        request = {"project": self._project, "zone": zone, "operation": operation}
        try:
            with _translated():
                operation_now = self._operations.wait(request, **CALL_OPTIONS)
        except ComputeUnreachable:  # the server waits, too, and may take longer than a call allows
            return False
        except ComputeRefused as refused:
            refused.begun = True
            raise
        for error in operation_now.error.errors:
            raise ComputeRefused(error.code, operation_now.http_error_status_code, error.message, begun=True)
        return bool(operation_now.status == Operation.Status.DONE)

    def find(self, zone: str, name: str) -> FoundInstance | None:
        request = {"project": self._project, "zone": zone, "instance": name}
        try:
            return _found(zone, _repeated(lambda: self._instances.get(request, **CALL_OPTIONS)))
        except ComputeRefused as refused:
            if refused.not_found:
                return None
            raise

    def find_in(self, zones: Sequence[str], name: str) -> FoundInstance | None:
        """Find an instance that the list did not show: a zone that does not answer is left out of lists."""
        there = (self.find(zone, name) for zone in zones)
        return next((found for found in there if found is not None), None)

    def labelled(self, labels: Mapping[str, str]) -> list[FoundInstance]:
        """Return the instances of all zones that have all these labels."""
        conditions = " AND ".join(f"(labels.{key}={value})" for key, value in labels.items())
        request = {"project": self._project, "filter": conditions}
        return _repeated(lambda: self._listed(request))

    def _listed(self, request: dict[str, str]) -> list[FoundInstance]:
        return [
            _found(scope.removeprefix("zones/"), instance)
            for scope, scoped in self._instances.aggregated_list(request, **CALL_OPTIONS)
            for instance in scoped.instances
        ]


def _repeated(call: Callable[[], T]) -> T:
    """Call, and repeat if that may help. Raises ComputeRefused, ComputeUnreachable."""
    for attempt in stamina.retry_context(
        on=ComputeUnreachable,
        attempts=ATTEMPTS,
        timeout=RETRY_SECONDS,
        wait_initial=FIRST_WAIT_SECONDS,
        wait_jitter=FIRST_WAIT_SECONDS,
    ):
        with attempt:
            try:
                with _translated():
                    return call()
            except ComputeRefused as refused:
                refused.begun = attempt.num > 1
                raise
    raise AssertionError("the last attempt either returns or raises")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except GoogleAPICallError as error:
        refused = _refused(error)
        may_help = refused.status >= HTTPStatus.INTERNAL_SERVER_ERROR or refused.status in RETRYABLE
        if refused.code in RATE or (may_help and refused.kind not in LEFT_NOTHING):
            raise ComputeUnreachable(str(refused), answered=True) from error
        raise refused from error
    except (RequestException, TransportError, ParseError) as error:  # a proxy may answer 200 with a page of its own
        raise ComputeUnreachable(type(error).__name__) from error
    except GoogleAuthError as error:
        raise ComputeRefused("credentials", HTTPStatus.UNAUTHORIZED, str(error)) from error


def _refused(error: GoogleAPICallError) -> ComputeRefused:
    reasons = [one.get("reason", "") for one in error.errors if isinstance(one, dict)]
    return ComputeRefused(next(iter(reasons), ""), int(error.code or 0), error.message)


def _found(zone: str, instance: Instance) -> FoundInstance:
    return FoundInstance(zone, instance.name, instance.status, dict(instance.labels))


def _client_arguments(endpoint: str | None) -> dict[str, Any]:
    """Return a client's arguments: it has the environment's credentials unless the endpoint asks for none."""
    if endpoint is None:
        return {}
    anonymous = {"credentials": AnonymousCredentials()} if endpoint.startswith(PLAIN) else {}  # type: ignore[no-untyped-call]
    return {"client_options": ClientOptions(api_endpoint=endpoint), **anonymous}
