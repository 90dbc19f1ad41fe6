"""Measures and uploads the output as a stream, in parts if it is large: it is never whole in memory."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import httpx

from shared.domain.order import Reason
from shared.wire.workers import MAX_OUTPUT_BYTES, PartGrant, PartsGrant, UploadGrant
from worker.callbacks import Callbacks, InvalidReport, MeasuredOutput
from worker.network import NoHttpAnswer, answered, persist
from worker.programs import ProgramFailed, Result

LARGE_BYTES: Final = 5 * 1024**3 - 5 * 1024**2
"""R2 takes no more in one request (https://developers.cloudflare.com/r2/platform/limits/). S3 takes 5 MiB more."""
CHUNK: Final = 1 << 16
FRUITLESS: Final = 3
"""The number of successive grants that bring no part to the bucket, after which the upload is given up."""


def measure(result: Result) -> MeasuredOutput:
    """Return the output's size and SHA-256. Raises ProgramFailed if it is larger than an object may be."""
    size = result.file.stat().st_size
    if size > MAX_OUTPUT_BYTES:
        message = f"The output has {size} bytes; at most {MAX_OUTPUT_BYTES} can be uploaded."
        raise ProgramFailed(Reason.PROGRAM_FAILED, message, retryable=False)
    with result.file.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return MeasuredOutput(result.file, result.content_type, size, sha256)


def deliver(http: httpx.Client, reports: Callbacks, output: MeasuredOutput, large: int = LARGE_BYTES) -> str | None:
    """Upload the output. Return the id of the upload, for the report *completed*, if it was made in parts.

    An output of more than `large` bytes is uploaded as the control plane decides. Raises ProgramFailed, NoHttpAnswer,
    ReportRefused.
    """
    if output.size <= large:
        upload(http, output, reports.upload(output))
        return None
    try:
        grant = reports.upload_parts(output, None)
    except InvalidReport as refused:
        message = f"The output has {output.size} bytes, and this control plane grants uploads of at most {large} bytes."
        raise ProgramFailed(Reason.UPLOAD_FAILED, f"{message} Deploy a later version.", retryable=False) from refused
    if isinstance(grant, UploadGrant):
        upload(http, output, grant)
        return None
    return _upload_in_parts(http, output, grant, lambda upload_id: reports.upload_parts(output, upload_id))


def upload(http: httpx.Client, output: MeasuredOutput, grant: UploadGrant) -> None:
    """PUT the file with exactly the granted headers. Raises ProgramFailed; another attempt gets a new grant."""
    refusal = _send(http, output.file, grant, 0, output.size)
    if refusal is not None:
        raise ProgramFailed(Reason.UPLOAD_FAILED, refusal, retryable=True)


def _upload_in_parts(
    http: httpx.Client, output: MeasuredOutput, grant: PartsGrant, ask: Callable[[str], UploadGrant | PartsGrant]
) -> str:
    """Send the granted parts, and ask for those that are missing, until none is. Return the upload's id.

    The bucket's list of parts says what is missing: a part whose answer was lost is not sent again, and one whose URL
    has expired gets a new one.
    """
    fruitless = 0
    while grant.missing:
        refusal = _send_parts(http, output, grant.parts)
        following = ask(grant.upload_id)
        if isinstance(following, UploadGrant):
            raise ProgramFailed(Reason.UPLOAD_FAILED, "The control plane grants no more parts.", retryable=True)
        fruitless = fruitless + 1 if following.missing >= grant.missing else 0
        if fruitless == FRUITLESS:
            message = refusal or f"The bucket keeps no parts; {following.missing} are missing."
            raise ProgramFailed(Reason.UPLOAD_FAILED, message, retryable=True)
        grant = following
    return grant.upload_id


def _send_parts(http: httpx.Client, output: MeasuredOutput, parts: tuple[PartGrant, ...]) -> str | None:
    """PUT the parts, one after the other. Stop at the first that the bucket refuses, and return why."""
    for part in parts:
        refusal = _send(http, output.file, part, part.offset, part.size)
        if refusal is not None:
            return f"Part {part.number}: {refusal}"
    return None


def _send(http: httpx.Client, file: Path, grant: UploadGrant | PartGrant, offset: int, size: int) -> str | None:
    """PUT these bytes, with retries. Return why the bucket did not take them; None if it did."""

    def put() -> httpx.Response:
        # The client itself would add headers to those that were granted.
        request = httpx.Request("PUT", grant.url, headers=grant.headers, content=_read(file, offset, size))
        return answered(http.send(request))

    try:
        answer = persist(put)
    except NoHttpAnswer as error:
        return f"The bucket did not answer: {error}"
    return None if answer.is_success else f"The bucket refused the upload: {_status(answer)}"


def _status(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.reason_phrase}".strip()


def _read(path: Path, offset: int, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        while size > 0 and (chunk := file.read(min(CHUNK, size))):
            size -= len(chunk)
            yield chunk
