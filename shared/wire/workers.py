"""Models for workers: `/v1/callbacks/{order_id}`."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from shared.domain.order import Failure, Reason
from shared.wire.base import Answer, AnyState, ContentType, Epoch, FileName, Name, Request, Sha256, Text

MAX_OUTPUT_BYTES = 5 * 1024**3 - 1
"""A single PUT stays below 5 GiB (S3 and R2)."""


class WorkerStarted(Request):
    event: Literal["started"] = "started"
    epoch: Epoch


class UploadRequest(Request):
    """Ask for one presigned upload of exactly these bytes."""

    event: Literal["upload"] = "upload"
    epoch: Epoch
    file_name: FileName
    content_type: ContentType
    size: Annotated[int, Field(ge=0, le=MAX_OUTPUT_BYTES)]
    sha256: Sha256


class WorkerCompleted(Request):
    """The output was uploaded, and is this."""

    event: Literal["completed"] = "completed"
    epoch: Epoch
    file_name: FileName
    content_type: ContentType
    size: Annotated[int, Field(ge=0, le=MAX_OUTPUT_BYTES)]
    sha256: Sha256
    metrics: Annotated[Mapping[Name, int | float], Field(max_length=50)] = {}


class WorkerFailed(Request):
    event: Literal["failed"] = "failed"
    epoch: Epoch
    reason: Reason
    message: Text
    failure: Literal[Failure.RETRYABLE, Failure.PERMANENT]


CallbackRequest = Annotated[
    WorkerStarted | UploadRequest | WorkerCompleted | WorkerFailed, Field(discriminator="event")
]


class UploadGrant(Answer):
    """PUT the bytes to `url` with exactly these headers."""

    url: str
    headers: Mapping[str, str]


class CallbackAnswer(Answer):
    """`upload` answers an upload request; it is null otherwise."""

    state: AnyState
    upload: UploadGrant | None = None
