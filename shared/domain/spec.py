"""What an order asks for: one frozen model a kind, the same on the wire, in the store and in the machine."""

from enum import StrEnum
from functools import partial
from operator import eq
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

ANY_POOL: Final = "any"
"""The first segment of the lane of an order that any launcher may run."""
EVERY: Final = "*"
"""In a lane: any datacenter, or any of one cloud."""

DATACENTER_PATTERN: Final = r"[a-z0-9][a-z0-9_-]{0,31}:[a-z0-9][a-z0-9._-]{0,95}"
Datacenter = Annotated[str, StringConstraints(pattern=rf"^{DATACENTER_PATTERN}$", max_length=129)]
"""`<provider>:<location>`, lower case, such as `baremetal:rack-7`."""

Ulid = Annotated[str, StringConstraints(pattern=r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
"""26 characters of Crockford's base 32 (https://github.com/ulid/spec)."""


Argument = Annotated[str, StringConstraints(max_length=1024, pattern=r"^[^\x00]*$")]
"""It holds no NUL: no command can take one as an argument."""


Image = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][A-Za-z0-9._/:@-]*$", max_length=255)]
"""An OCI image by its registry, name and tag or digest, such as `registry.fly.io/descartes-workers:latest`."""
Region = Annotated[str, StringConstraints(pattern=r"^[a-z]{3}$")]
"""A cloud's region, such as Fly's `ord`."""


SessionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,60}$")]
AgentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,59}$")]
"""The name of an agent's blueprint, which the executor of a session knows."""
ProjectDirectory = Annotated[str, StringConstraints(pattern=r"^/[^\x00]*$", max_length=4096)]
"""An absolute path on the launcher's host."""
MAX_PROMPT: Final = 65_536
"""The length of a session's prompt, in characters."""
MAX_DEMANDED: Final = 3
"""The number of labels that a session may demand of its launcher."""
LABEL_PATTERN: Final = r"[a-z0-9][a-z0-9._=:-]{0,47}"
Label = Annotated[str, StringConstraints(pattern=rf"^{LABEL_PATTERN}$")]
"""A property of a launcher, such as `gpu` or `executor=claude-code`."""


BatchId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,64}$")]


class OrderKind(StrEnum):
    CAPACITY = "capacity"
    EXPORT = "export"
    TASK = "task"
    SESSION = "session"


class NodeSize(StrEnum):
    TINY = "tiny"
    STANDARD = "standard"
    LLM = "llm"


class CheimarrosMode(StrEnum):
    """How much of an entity's knowledge graph goes into its record."""

    FULL = "full"
    MINIMAL = "minimal"
    SKIP = "skip"


class Attestation(StrEnum):
    """Whose report fulfils a capacity order."""

    OPTIONAL = "optional"
    """The worker's in the machine, or the launcher's if the launcher sends no heartbeats."""
    REQUIRED = "required"
    """Only the report of an agent in the machine, after its quote was verified."""


class LogLevel(StrEnum):
    ERROR = "error"
    WARN = "warn"
    INFO = "info"
    DEBUG = "debug"
    TRACE = "trace"


class SecretName(StrEnum):
    """The secrets of the operator that an order may ask for."""

    ANTHROPIC_API_KEY = "ANTHROPIC_API_KEY"


class Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


def _later(default: Any, **constraints: Any) -> Any:  # typed as `Field` is
    """Return a field that a document leaves out if it has its default: earlier versions can read such a document."""
    return Field(default, exclude_if=partial(eq, default), **constraints)


class CapacitySpec(Spec):
    """A long-lived VM of a node size in a datacenter."""

    kind: Literal[OrderKind.CAPACITY] = OrderKind.CAPACITY
    datacenter: Datacenter
    node_size: NodeSize
    attestation: Attestation = Attestation.OPTIONAL
    purpose: Annotated[str, StringConstraints(max_length=200)] = ""
    """The client's own words for why it placed the order."""


class ExportOptions(Spec):
    """`max_depth` is the depth of the deepest exported entity below the root; 0 is the root alone."""

    include_ocr: bool = True
    cheimarros_mode: CheimarrosMode = CheimarrosMode.FULL
    recursive: bool = _later(False)
    max_depth: int = _later(5, ge=0, le=100)
    parallel_batch_size: int = _later(10, ge=1, le=100)
    """The number of entities that are read at the same time."""


class ExportSpec(Spec):
    """The MODS 3.8 record of one entity, or if `recursive` the records of its tree as one collection.

    If it names an image, that image makes the export in place of our own worker. `batch` is the id of the batch of
    exports that it was ordered with.
    """

    kind: Literal[OrderKind.EXPORT] = OrderKind.EXPORT
    pi: Ulid
    options: ExportOptions = ExportOptions()
    image: Image | None = _later(None)
    region: Region | None = _later(None)
    batch: BatchId | None = _later(None)


class TaskSpec(Spec):
    """A command, or the entry point of an image. A command's standard output and error, interleaved, are the output."""

    kind: Literal[OrderKind.TASK] = OrderKind.TASK
    command: Annotated[tuple[Argument, ...], Field(max_length=64)] = ()
    image: Image | None = _later(None)
    region: Region | None = _later(None)
    project_id: Annotated[str, StringConstraints(max_length=200)] = _later("")
    log_level: LogLevel = _later(LogLevel.INFO)
    secrets: Annotated[tuple[SecretName, ...], Field(max_length=8)] = _later(())


class SessionSpec(Spec):
    """An agent's job, which starts a session or resumes it; run by launchers that serve sessions.

    Only a launcher that offers all of `labels` gets it. If it names a parent, that session is resumed with the result
    once this job has ended.
    """

    kind: Literal[OrderKind.SESSION] = OrderKind.SESSION
    session_name: SessionName
    prompt: Annotated[str, StringConstraints(max_length=MAX_PROMPT)]
    resume: bool = _later(False)
    agent_name: AgentName | None = _later(None)
    project_dir: ProjectDirectory | None = _later(None)
    parent_session_name: SessionName | None = _later(None)
    labels: Annotated[tuple[Label, ...], Field(max_length=MAX_DEMANDED)] = _later(())


AnySpec = Annotated[CapacitySpec | ExportSpec | TaskSpec | SessionSpec, Field(discriminator="kind")]
