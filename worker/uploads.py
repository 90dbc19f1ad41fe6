"""Measures and uploads the output as a stream: it is never whole in memory."""

import hashlib

import httpx

from shared.domain.order import Reason
from shared.wire.workers import MAX_OUTPUT_BYTES, UploadGrant
from worker.callbacks import MeasuredOutput
from worker.network import NoHttpAnswer, answered, persist
from worker.programs import ProgramFailed, Result


def measure(result: Result) -> MeasuredOutput:
    """Return the output's size and SHA-256. Raises ProgramFailed if it is larger than one upload may be."""
    size = result.file.stat().st_size
    if size > MAX_OUTPUT_BYTES:
        message = f"The output has {size} bytes; at most {MAX_OUTPUT_BYTES} can be uploaded."
        raise ProgramFailed(Reason.PROGRAM_FAILED, message, retryable=False)
    with result.file.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return MeasuredOutput(result.file, result.content_type, size, sha256)


def upload(http: httpx.Client, output: MeasuredOutput, grant: UploadGrant) -> None:
    """PUT the file with exactly the granted headers. Raises ProgramFailed; another attempt gets a new grant."""
    try:
        answer = persist(lambda: _put(http, output, grant))
    except NoHttpAnswer as error:
        raise ProgramFailed(Reason.UPLOAD_FAILED, f"The bucket did not answer: {error}", retryable=True) from error
    if not answer.is_success:
        message = f"The bucket refused the upload: {answer.status_code} {answer.reason_phrase}".strip()
        raise ProgramFailed(Reason.UPLOAD_FAILED, message, retryable=True)


def _put(http: httpx.Client, output: MeasuredOutput, grant: UploadGrant) -> httpx.Response:
    with output.file.open("rb") as file:
        # The client itself would add headers to those that were granted.
        request = httpx.Request("PUT", grant.url, headers=grant.headers, content=file)
        return answered(http.send(request))
