"""For task workers: they report that they started, completed or failed, and act on no answer.

So whatever comes late or twice is answered with 200, changes nothing, and is logged.
"""

import json
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from functions.apis.tasks.settings import TasksSettings
from functions.domain import request_ids
from functions.domain.events import Fail, Start, Succeed
from functions.domain.refusals import Invalid, NotFound, Unauthenticated
from functions.engine.credentials import CallbackTokens
from functions.engine.image_reports import Ignored, ImageReports, log_ignored
from functions.http.authentication import Open
from functions.http.routing import ID, Route
from functions.ports.orders import Snapshot
from shared.domain.order import Reason
from shared.domain.spec import OrderKind

MAX_ID_LENGTH: Final = 128
MAX_ERROR_LENGTH: Final = 4000
MAX_MESSAGE_LENGTH: Final = 1000
NO_TASK: Final = "There is no such task, or the secret is not this task's."


class Callback(StrEnum):
    """The last part of a callback's path."""

    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"


def _cut_to(length: int) -> BeforeValidator:
    """Return a validator that shortens a text, and writes as JSON what is no text."""

    def cut(value: object) -> str | None:
        return value if value is None else (value if isinstance(value, str) else json.dumps(value))[:length]

    return BeforeValidator(cut)


def _code(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class CallbackBody(BaseModel):
    """What a worker sends. Other members, such as `project_id` and `status`, are not read.

    Only a wrong `task_id` is refused: the worker acts on no refusal, so one for any other member would lose the report.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    task_id: Annotated[str, StringConstraints(max_length=MAX_ID_LENGTH)]
    message: Annotated[str | None, StringConstraints(max_length=MAX_MESSAGE_LENGTH), _cut_to(MAX_MESSAGE_LENGTH)] = None
    """With `completed`: what the worker did."""
    error: Annotated[str | None, StringConstraints(max_length=MAX_ERROR_LENGTH), _cut_to(MAX_ERROR_LENGTH)] = None
    """With `failed`: why."""
    exit_code: Annotated[int | None, BeforeValidator(_code)] = None
    """With `failed`: that of the program which the worker ran; None also if it is no integer."""


class CallbackAccepted(BaseModel):
    """`ignored` is true if the report changed nothing: it was sent before, or came after the task's end."""

    ok: Literal[True] = True
    ignored: bool = Field(False, exclude_if=lambda ignored: not ignored)


def report(
    body: CallbackBody, tokens: CallbackTokens, reports: ImageReports, task_id: str, secret: str, callback: str
) -> CallbackAccepted:
    """Apply the report of a machine that we started, at the epoch of its secret."""
    kind, epoch = _kind(callback), tokens.epoch_of(task_id, secret)
    if epoch is None:
        raise _unknown(task_id, kind, Ignored.FORGED)
    if body.task_id != task_id:
        log_ignored(Ignored.WRONG_TASK, task_id, kind)
        raise Invalid("Some fields of the body are wrong.", {"task_id": "Send the id of the task in the path"})
    return _apply(_task(reports, task_id, kind), epoch, kind, body, reports)


def report_unsigned(
    body: CallbackBody, settings: TasksSettings, reports: ImageReports, callback: str
) -> CallbackAccepted:
    """Apply the report of any worker, at the present epoch of the task that the body names."""
    if not settings.open_callbacks:
        log_ignored(Ignored.FORGED, body.task_id, callback)
        raise Unauthenticated(
            "Callbacks need the task and its secret in the path: call the CALLBACK_URL as it was given."
        )
    kind = _kind(callback)
    seen = _task(reports, body.task_id, kind)
    return _apply(seen, seen.order.epoch, kind, body, reports)


def _apply(seen: Snapshot, epoch: int, kind: Callback, body: CallbackBody, reports: ImageReports) -> CallbackAccepted:
    why = reports.apply(seen, _event(kind, epoch, body))
    if why is not None:
        log_ignored(why, seen.order.id, kind)
    return CallbackAccepted(ignored=why is not None)


def _event(kind: Callback, epoch: int, body: CallbackBody) -> Start | Succeed | Fail:
    if kind is Callback.STARTED:
        return Start(request_ids.worker_started(epoch), epoch)
    request_id = request_ids.worker_report(kind, epoch, body.model_dump_json())
    if kind is Callback.COMPLETED:
        return Succeed(request_id, epoch, message=body.message)
    code = "" if body.exit_code is None else f"Exit code {body.exit_code}: "
    message = f"{code}{body.error or 'the worker gave no reason.'}"
    return Fail(request_id, epoch, Reason.PROGRAM_FAILED, message[:MAX_ERROR_LENGTH])


def _kind(callback: str) -> Callback:
    try:
        return Callback(callback)
    except ValueError:
        raise NotFound(f"There is no such callback; send one of {', '.join(Callback)}.") from None


def _task(reports: ImageReports, task_id: str, kind: Callback) -> Snapshot:
    """Return the order. Raises NotFound, also for an order of another kind."""
    try:
        seen = reports.read(ID.validate_python(task_id))
    except (NotFound, ValidationError):
        raise _unknown(task_id, kind, Ignored.UNKNOWN_TASK) from None
    if seen.order.kind is not OrderKind.TASK:
        raise _unknown(task_id, kind, Ignored.UNKNOWN_TASK)
    return seen


def _unknown(task_id: str, kind: Callback, why: Ignored) -> NotFound:
    log_ignored(why, task_id, kind)
    return NotFound(NO_TASK)


ROUTES: Final = (
    Route(
        "POST",
        "/api/agents/callback/{task_id}/{secret}/{callback}",
        Open.ANYONE,
        report,
        "Report on a task from inside its machine",
        missing=NO_TASK,
    ),
    Route(
        "POST",
        "/api/agents/callback/{callback}",
        Open.ANYONE,
        report_unsigned,
        "Report on a task without a secret, if the operator allows it",
        missing="There is no such callback.",
    ),
)
