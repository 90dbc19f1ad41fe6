"""Models for workers: `/v1/callbacks/{order_id}`."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from shared.domain.order import Failure, Reason
from shared.wire.base import Answer, AnyState, ContentType, Epoch, FileName, Name, Request, Sha256, Text

MAX_OUTPUT_BYTES = 5 * 1024**3 - 1
"""The limit of a single PUT is 5 GiB (S3 and R2)."""


class WorkerStarted(Request):
    event: Literal["started"] = "started"
    epoch: Epoch


class UploadRequest(Request):
    """Request one presigned upload of exactly these bytes."""

    event: Literal["upload"] = "upload"
    epoch: Epoch
    file_name: FileName
    content_type: ContentType
    size: Annotated[int, Field(ge=0, le=MAX_OUTPUT_BYTES)]
    sha256: Sha256


class WorkerCompleted(Request):
    """The worker has uploaded this output."""

    event: Literal["completed"] = "completed"
    epoch: Epoch
    file_name: FileName
    content_type: ContentType
    size: Annotated[int, Field(ge=0, le=MAX_OUTPUT_BYTES)]
    sha256: Sha256
    metrics: Annotated[Mapping[Name, int | float], Field(max_length=50)] = {}


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
    WorkerStarted | UploadRequest | WorkerProgress | WorkerCompleted | WorkerFailed, Field(discriminator="event")
]


class UploadGrant(Answer):
    """PUT the output to `url` with exactly these headers."""

    url: str
    headers: Mapping[str, str]


class CallbackAnswer(Answer):
    """`upload` is the answer to an upload request, `environment` that to `started`: for a task's command."""

    state: AnyState
    upload: UploadGrant | None = None
    environment: Annotated[Mapping[str, str], Field(exclude_if=lambda given: not given, repr=False)] = {}
