"""The bodies of the exports contract: options in camel case, times in milliseconds since 1970."""

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import AliasGenerator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from functions.domain.batches import MAX_TASKS
from functions.domain.order import Order, uploaded_key
from functions.engine.image_reports import PLAIN_NAME
from shared.domain.order import State
from shared.domain.spec import CheimarrosMode, ExportOptions, ExportSpec, Ulid
from shared.wire.base import MAX_TEXT, FileName, Name, Text

MAX_METRICS: Final = 50
METRIC: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
REQUIRED: Final = "Field required"
"""What pydantic says of a field that is missing."""


class ExportStatus(StrEnum):
    PROCESSING = "processing"
    SUCCESS = "success"
    ERROR = "error"


STATUS_OF: Final[Mapping[State, ExportStatus]] = {
    State.QUEUED: ExportStatus.PROCESSING,
    State.CLAIMED: ExportStatus.PROCESSING,
    State.PROVISIONING: ExportStatus.PROCESSING,
    State.RUNNING: ExportStatus.PROCESSING,
    State.SUCCEEDED: ExportStatus.SUCCESS,
    State.FAILED: ExportStatus.ERROR,
    State.CANCELLED: ExportStatus.ERROR,
    State.EXPIRED: ExportStatus.ERROR,
}


class ExportsBody(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Options(ExportsBody):
    """What a client may choose. `validate` is accepted, and changes nothing."""

    model_config = ConfigDict(alias_generator=AliasGenerator(to_camel))

    recursive: bool = False
    max_depth: Annotated[int, Field(ge=0, le=100)] = 5
    parallel_batch_size: Annotated[int, Field(ge=1, le=100)] = 10
    include_ocr: bool = True
    cheimarros_mode: CheimarrosMode = CheimarrosMode.FULL
    validates: Annotated[bool, Field(alias="validate")] = False

    @classmethod
    def of(cls, options: ExportOptions) -> Self:
        return cls.model_validate(options.model_dump(by_alias=False), by_name=True, by_alias=False)

    def chosen(self) -> ExportOptions:
        return ExportOptions(**self.model_dump(exclude={"validates"}))

    def effective(self) -> str:
        """Return the options that an image gets, as JSON."""
        return self.model_dump_json(by_alias=True, exclude={"validates"})


def _given(value: object) -> object:
    """Count an empty text as a missing field, as the contract does."""
    if value in (None, ""):
        raise PydanticCustomError("missing", REQUIRED)
    return value


class ExportRequest(ExportsBody):
    """`POST /export/mods`."""

    pi: Annotated[Ulid, BeforeValidator(_given)]
    options: Options = Options()


class BatchRequest(ExportsBody):
    """`POST /export/mods/batch`: the same options for each entity."""

    pis: Annotated[tuple[Ulid, ...], Field(min_length=1, max_length=MAX_TASKS)]
    options: Options = Options()


class Started(BaseModel):
    task_id: str
    status: ExportStatus
    message: str


Known = Field(None, exclude_if=lambda value: value is None)
"""A member that is left out until it is known."""


class TaskStatus(BaseModel):
    """`GET /status/{task_id}`. What is not known yet is left out."""

    task_id: str
    status: ExportStatus
    pi: str
    created_at: int
    completed_at: Annotated[int | None, Known] = None
    output_r2_key: Annotated[str | None, Known] = None
    output_file_name: Annotated[str | None, Known] = None
    output_file_size: Annotated[int | None, Known] = None
    metrics: Annotated[Mapping[str, int | float] | None, Known] = None
    error: Annotated[str | None, Known] = None
    progress: Annotated[Mapping[str, int] | None, Known] = None

    @classmethod
    def of(cls, order: Order, spec: ExportSpec) -> Self:
        status, output = STATUS_OF[order.state], order.output
        return cls(
            task_id=order.id,
            status=status,
            pi=spec.pi,
            created_at=milliseconds(order.created_at),
            completed_at=milliseconds(order.entered[order.state]) if order.final else None,
            output_r2_key=uploaded_key(order),
            output_file_name=output and output.file_name,
            output_file_size=None if output is None else output.size,
            metrics=order.metrics or None,
            error=order.message or f"The export ended: {order.reason}" if status is ExportStatus.ERROR else None,
            progress=order.progress or None,
        )


class BatchStarted(BaseModel):
    batch_id: str
    status: ExportStatus
    total: int
    task_ids: tuple[str, ...]
    message: str


class TaskCounts(BaseModel):
    """The number of tasks of each status."""

    processing: int
    success: int
    error: int


class BatchTask(BaseModel):
    task_id: str
    pi: str
    status: ExportStatus


class BatchStatus(BaseModel):
    """`GET /status/batch/{batch_id}`. The batch is `processing` as long as one of its tasks is."""

    batch_id: str
    status: ExportStatus
    created_at: int
    total: int
    counts: TaskCounts
    tasks: tuple[BatchTask, ...]


class Health(BaseModel):
    status: str = "ok"
    service: str = "arke-export-orchestrator"


class Received(BaseModel):
    received: bool = True


def _text(value: object) -> str:
    """Return the text that a worker gave as its error, shortened; "" for null, and JSON for what is no text."""
    if value is None:
        return ""
    return (value if isinstance(value, str) else json.dumps(value))[:MAX_TEXT]


def _plain_name(value: object) -> str | None:
    """Return a file's name; None if it is no plain name, which would not be safe in a header."""
    return value if isinstance(value, str) and PLAIN_NAME.fullmatch(value) else None


def _numbers(value: object) -> object:
    """Return the metrics that are numbers, sorted by name: in whatever order a worker repeats them, it is a repeat."""
    if not isinstance(value, Mapping):
        return {}
    kept = {name: number for name, number in value.items() if _is_metric(name, number)}
    return dict(sorted(kept.items())[:MAX_METRICS])


def _is_metric(name: str, number: Any) -> bool:
    numeric = isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
    return numeric and METRIC.fullmatch(name) is not None


class CallbackRequest(BaseModel):
    """What an image reports at its end. Members that are not here are ignored: `output_file_size` is the bucket's."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    task_id: Annotated[str, StringConstraints(max_length=128)]
    status: ExportStatus
    output_r2_key: Annotated[str, StringConstraints(max_length=300)] | None = None
    output_file_name: Annotated[FileName | None, BeforeValidator(_plain_name)] = None
    metrics: Annotated[Mapping[Name, int | float], Field(max_length=MAX_METRICS), BeforeValidator(_numbers)] = {}
    error: Annotated[Text, BeforeValidator(_text)] = ""


def milliseconds(time: datetime) -> int:
    """Return the Unix time in milliseconds."""
    return int(time.timestamp() * 1000)
