"""Models for workers: `/v1/callbacks/{order_id}`."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from shared.domain.order import Failure, Reason
from shared.wire.base import Answer, AnyState, ContentType, Epoch, FileName, Name, Request, Sha256, Text

MAX_SINGLE_UPLOAD_BYTES = 5 * 1024**3 - 1
"""The limit of a single PUT is 5 GiB (S3)."""
MAX_OUTPUT_BYTES = 5 * 1024**4 - 5 * 1024**3
"""The largest object of R2 (https://developers.cloudflare.com/r2/platform/limits/); S3 takes 5 GiB more."""

UploadId = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,1024}$")]
"""Names an upload in parts. Only the bucket knows what it means."""


def is_none(value: object) -> bool:
    """Leave out a field that an earlier version does not know, if it says nothing."""
    return value is None


class WorkerStarted(Request):
    event: Literal["started"] = "started"
    epoch: Epoch


class UploadRequest(Request):
    """Request one presigned upload of exactly these bytes."""

    event: Literal["upload"] = "upload"
    epoch: Epoch
    file_name: FileName
    content_type: ContentType
    size: Annotated[int, Field(ge=0, le=MAX_SINGLE_UPLOAD_BYTES)]
    sha256: Sha256


class PartsRequest(Request):
    """Request the upload of an output of any size, which may be granted in parts.

    `upload_id` is that of the last answer: the next parts are granted. Without it, or if that upload is no longer open,
    a new upload is begun.
    """

    event: Literal["upload_parts"] = "upload_parts"
    epoch: Epoch
    content_type: ContentType
    size: Annotated[int, Field(ge=0, le=MAX_OUTPUT_BYTES)]
    sha256: Sha256
    upload_id: UploadId | None = None


class WorkerCompleted(Request):
    """The worker has uploaded this output, in parts if there is an `upload_id`."""

    event: Literal["completed"] = "completed"
    epoch: Epoch
    file_name: FileName
    content_type: ContentType
    size: Annotated[int, Field(ge=0, le=MAX_OUTPUT_BYTES)]
    sha256: Sha256
    metrics: Annotated[Mapping[Name, int | float], Field(max_length=50)] = {}
    upload_id: Annotated[UploadId | None, Field(exclude_if=is_none)] = None


class WorkerProgress(Request):
    """What the worker has done so far. It changes no state, and a lost one needs no repeat."""

    event: Literal["progress"] = "progress"
    epoch: Epoch
    progress: Annotated[Mapping[Name, Annotated[int, Field(ge=0, le=2**53)]], Field(max_length=10)]


class WorkerFailed(Request):
    event: Literal["failed"] = "failed"
    epoch: Epoch
    reason: Reason
    message: Text
    failure: Literal[Failure.RETRYABLE, Failure.PERMANENT]


CallbackRequest = Annotated[
    WorkerStarted | UploadRequest | PartsRequest | WorkerProgress | WorkerCompleted | WorkerFailed,
    Field(discriminator="event"),
]


class UploadGrant(Answer):
    """PUT the output to `url` with exactly these headers."""

    url: str
    headers: Mapping[str, str]


class PartGrant(Answer):
    """PUT the output's `size` bytes from `offset` on to `url` with exactly these headers."""

    number: int
    offset: int
    size: int
    url: str
    headers: Mapping[str, str]


class PartsGrant(Answer):
    """The next parts to upload, of all that are `missing`. If none is, report that the upload is completed."""

    upload_id: str
    missing: int
    parts: tuple[PartGrant, ...]


class CallbackAnswer(Answer):
    """`upload` or `parts` is the answer to a request for an upload, `environment` that to `started`: for a task's
    command.
    """

    state: AnyState
    upload: UploadGrant | None = None
    parts: Annotated[PartsGrant | None, Field(exclude_if=is_none)] = None
    environment: Annotated[Mapping[str, str], Field(exclude_if=lambda given: not given, repr=False)] = {}
