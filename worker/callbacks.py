"""Sends the worker's reports to the control plane. Each is tried twelve times; a refused one ends the work."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from pydantic import BaseModel, ValidationError

from shared.domain.order import FINAL, Failure, State
from shared.guest.config import WorkerConfig
from shared.wire.base import read_answer
from shared.wire.problems import Problem
from shared.wire.workers import (
    CallbackAnswer,
    PartsGrant,
    PartsRequest,
    UploadGrant,
    UploadRequest,
    WorkerCompleted,
    WorkerFailed,
    WorkerProgress,
    WorkerStarted,
)
from worker.network import TIMEOUT, answered, once, persist
from worker.programs import ProgramFailed

TRIES: Final = 12
"""About two minutes: during a roll-out an older instance answers 503 for orders that a newer one has written."""
PROGRESS_TIMEOUT: Final = httpx.Timeout(10.0)
"""In seconds: shorter than a report's that matters."""
MAX_MESSAGE_LENGTH: Final = 4000
"""In characters: the limit of `Text` in shared/wire/base.py."""


class ReportRefused(Exception):
    """The control plane refused the report: the lease is lost, or this is not the order's worker."""


class OrderEnded(ReportRefused):
    """The order has ended, by a report of its own command or by its control plane: there is nothing left to report."""


class InvalidReport(ReportRefused):
    """The control plane does not know such a report: it is of an earlier version."""


class NotUnderstood(ReportRefused):
    """The answer is not one of this version's control plane, so it says nothing about the lease."""


@dataclass(frozen=True, slots=True)
class MeasuredOutput:
    """An output and its measurements: `size` in bytes, `sha256` in lower-case hex."""

    file: Path
    content_type: str
    size: int
    sha256: str


class Callbacks:
    """Reports for one order at one epoch. Every report raises NoHttpAnswer and ReportRefused."""

    def __init__(self, http: httpx.Client, config: WorkerConfig) -> None:
        self._http, self._epoch = http, config.epoch
        self._url = f"{config.control_plane}/v1/callbacks/{config.order_id}"
        self._headers = {
            "Authorization": f"Bearer {config.callback_token.get_secret_value()}",
            "Content-Type": "application/json",
        }

    def started(self) -> Mapping[str, str]:
        """Return the environment of a task's command."""
        return self._report(WorkerStarted(epoch=self._epoch)).environment

    def started_again(self) -> State | str:
        """Report *started* once more, which changes nothing, and return the order's state. There are no retries."""
        report = WorkerStarted(epoch=self._epoch).model_dump_json()
        return once(lambda: self._report_once(report)).state

    def progress(self, counts: Mapping[str, int]) -> None:
        """Report what was done so far. There are no retries: later counts replace these."""
        report = WorkerProgress(epoch=self._epoch, progress=counts).model_dump_json()
        once(lambda: self._report_once(report, PROGRESS_TIMEOUT))

    def upload(self, output: MeasuredOutput) -> UploadGrant:
        """Ask for one presigned upload of exactly these bytes."""
        request = UploadRequest(
            epoch=self._epoch,
            file_name=output.file.name,
            content_type=output.content_type,
            size=output.size,
            sha256=output.sha256,
        )
        grant = self._report(request).upload
        if grant is None:
            raise ReportRefused("The control plane granted no upload.")
        return grant

    def upload_parts(self, output: MeasuredOutput, upload_id: str | None) -> UploadGrant | PartsGrant:
        """Ask for the next parts of this upload, or for a new upload. Raises InvalidReport, too."""
        request = PartsRequest(
            epoch=self._epoch,
            content_type=output.content_type,
            size=output.size,
            sha256=output.sha256,
            upload_id=upload_id,
        )
        answer = self._report(request)
        grant = answer.parts or answer.upload
        if grant is None:
            raise ReportRefused("The control plane granted no upload.")
        return grant

    def completed(
        self, output: MeasuredOutput, metrics: Mapping[str, int | float], upload_id: str | None = None
    ) -> None:
        """Report that the output was uploaded, in parts if there is an `upload_id`."""
        report = WorkerCompleted(
            epoch=self._epoch,
            file_name=output.file.name,
            content_type=output.content_type,
            size=output.size,
            sha256=output.sha256,
            metrics=metrics,
            upload_id=upload_id,
        )
        self._report(report)

    def failed(self, failure: ProgramFailed) -> None:
        message = failure.message[:MAX_MESSAGE_LENGTH]
        report = WorkerFailed(
            epoch=self._epoch,
            reason=failure.reason,
            message=message,
            failure=Failure.RETRYABLE if failure.retryable else Failure.PERMANENT,
        )
        self._report(report)

    def _report(self, report: BaseModel) -> CallbackAnswer:
        return persist(lambda: self._report_once(report.model_dump_json()), TRIES)

    def _report_once(self, body: str, timeout: httpx.Timeout = TIMEOUT) -> CallbackAnswer:
        answer = answered(self._http.post(self._url, content=body, headers=self._headers, timeout=timeout))
        if not answer.is_success:
            raise _refusal(answer)
        try:
            return read_answer(CallbackAnswer, answer.content)
        except ValidationError:  # its text repeats the answer, which holds a presigned URL
            raise NotUnderstood("The answer is not one of this version's control plane.") from None


def _refusal(answer: httpx.Response) -> ReportRefused:
    try:
        problem = read_answer(Problem, answer.content)
    except ValidationError:
        return NotUnderstood(f"{answer.status_code}: {answer.reason_phrase}")
    kind = OrderEnded if problem.state in FINAL else ReportRefused
    if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
        kind = InvalidReport
    return kind(f"{answer.status_code}: {problem.detail}")
