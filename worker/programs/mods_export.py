"""The MODS 3.8 export of one entity, or of a tree of entities as one collection."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from shared.domain.order import Reason
from shared.domain.spec import ExportSpec
from worker.arke.source import ArkeSource, EntityUnavailable, Limits
from worker.mods.document import Records, writing
from worker.mods.frontier import Frontier, Position, TreeTooLarge
from worker.mods.holdings import Holdings, gather
from worker.mods.readers import NotInTime, Question, Readers, reading_ahead
from worker.mods.record import record
from worker.programs import Job, ProgramFailed, Result

IN_FLIGHT_BYTES: Final = 128 << 20
"""The limit of all documents that are in memory at the same time: each entity has an equal share."""
GIVE_UP_SECONDS: Final = 360.0
"""An entity's own limit and the last try's timeouts together are shorter, unless not even an answer's head ends."""
MAX_UNANSWERED: Final = 50
"""After this number of entities in a row without one answer the source is taken to be gone: that is known in minutes,
while the tries of 20,000 entities would take hours."""


@dataclass(slots=True)
class Counts:
    """What an export has done so far. `unanswered` counts the entities since the source's last answer."""

    written: int = 0
    failed: int = 0
    incomplete: int = 0
    unanswered: int = 0


def export(job: Job[ExportSpec]) -> Result:
    """Write `<PI>.xml`, or a tree's `<PI>-collection.xml`.

    Raises ProgramFailed if the one entity or the tree's root cannot be read, or if the source is gone. Any other entity
    of a tree that cannot be read is left out, and counted.
    """
    pi, options = job.spec.pi, job.spec.options
    file = job.folder / (f"{pi}-collection.xml" if options.recursive else f"{pi}.xml")
    frontier = Frontier(pi, options.max_depth if options.recursive else 0)
    counts = Counts()
    try:
        with writing(file, options.recursive) as records:
            for position, found in _entities(job, frontier):
                _enter(found, position, counts)
                if isinstance(found, Holdings):
                    text = str(position) if options.recursive else None
                    records.add(position.pi, record(found, options, job.sources, text))
                job.progress(_progress(counts, frontier))
    except TreeTooLarge as error:
        raise ProgramFailed(Reason.PROGRAM_FAILED, str(error), retryable=False) from error
    except OSError as error:  # a machine's files are in its memory
        message = f"The file cannot be written: {error.strerror}. Export less, or give machines more memory."
        raise ProgramFailed(Reason.DISK_FULL, message, retryable=False) from error
    return Result(file, "application/xml", _metrics(counts, records))


def _entities(job: Job[ExportSpec], frontier: Frontier) -> Iterator[tuple[Position, Holdings | EntityUnavailable]]:
    """Yield the entities in the frontier's order. While one is processed, the next ones are being read."""
    options = job.spec.options
    width = options.parallel_batch_size if options.recursive else 1
    limits = Limits(entity_bytes=min(Limits().entity_bytes, IN_FLIGHT_BYTES // width))

    def read(pi: str) -> Holdings:
        return gather(pi, options, ArkeSource(job.http, job.sources, limits))

    ahead: deque[tuple[Position, Question[Holdings]]] = deque()
    with reading_ahead(read, width, GIVE_UP_SECONDS) as readers:
        while True:
            while len(ahead) < width and (next_position := frontier.next()) is not None:
                ahead.append((next_position, readers.ask(next_position.pi)))
            if not ahead:
                return
            position, question = ahead.popleft()
            found = _answer(readers, question)
            if isinstance(found, Holdings):
                frontier.add(found.entity.children, position)
            yield position, found


def _answer(readers: Readers[Holdings], question: Question[Holdings]) -> Holdings | EntityUnavailable:
    try:
        return readers.answer(question)
    except EntityUnavailable as error:
        return error
    except NotInTime:
        return EntityUnavailable("it took too long", retryable=True, answered=False)


def _enter(found: Holdings | EntityUnavailable, position: Position, counts: Counts) -> None:
    """Count an entity. Raises ProgramFailed if the export cannot go on without it."""
    counts.unanswered = 0 if found.answered else counts.unanswered + 1
    if isinstance(found, Holdings):
        counts.written += 1
        counts.incomplete += found.pinax is None
    else:
        counts.failed += 1
        if position.parent is None:
            raise ProgramFailed(Reason.SOURCE_UNAVAILABLE, str(found), found.retryable) from found
    if counts.unanswered >= MAX_UNANSWERED:
        message = f"The source answered nothing about {counts.unanswered} entities in a row."
        raise ProgramFailed(Reason.SOURCE_UNAVAILABLE, message, retryable=True)


def _progress(counts: Counts, frontier: Frontier) -> dict[str, int]:
    return {"entities_done": counts.written, "entities_failed": counts.failed, "entities_found": frontier.found}


def _metrics(counts: Counts, records: Records) -> dict[str, int]:
    return {
        "entities_exported": counts.written + counts.failed,
        "entities_failed": counts.failed,
        "entities_incomplete": counts.incomplete,
        "entities_written": counts.written,
        "characters_replaced": records.replaced,
    }
