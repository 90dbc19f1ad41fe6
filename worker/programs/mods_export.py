"""The MODS 3.8 export of one entity, or of a tree of entities as one collection."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from shared.domain.order import Reason
from shared.domain.spec import ExportSpec
from worker.arke.source import ArkeSource, EntityUnavailable, Limits
from worker.mods.document import Records, writing
from worker.mods.frontier import Frontier, Place, TreeTooLarge
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
class Tally:
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
    tally = Tally()
    try:
        with writing(file, options.recursive) as records:
            for place, found in _entities(job, frontier):
                _enter(found, place, tally)
                if isinstance(found, Holdings):
                    position = str(place) if options.recursive else None
                    records.add(place.pi, record(found, options, job.sources, position))
                job.progress(_progress(tally, frontier))
    except TreeTooLarge as error:
        raise ProgramFailed(Reason.PROGRAM_FAILED, str(error), retryable=False) from error
    except OSError as error:  # a machine's files are in its memory
        message = f"The file cannot be written: {error.strerror}. Export less, or give machines more memory."
        raise ProgramFailed(Reason.DISK_FULL, message, retryable=False) from error
    return Result(file, "application/xml", _metrics(tally, records))


def _entities(job: Job[ExportSpec], frontier: Frontier) -> Iterator[tuple[Place, Holdings | EntityUnavailable]]:
    """Yield the entities in the frontier's order. While one is processed, the next ones are being read."""
    options = job.spec.options
    width = options.parallel_batch_size if options.recursive else 1
    limits = Limits(entity_bytes=min(Limits().entity_bytes, IN_FLIGHT_BYTES // width))

    def read(pi: str) -> Holdings:
        return gather(pi, options, ArkeSource(job.http, job.sources, limits))

    ahead: deque[tuple[Place, Question[Holdings]]] = deque()
    with reading_ahead(read, width, GIVE_UP_SECONDS) as readers:
        while True:
            while len(ahead) < width and (next_place := frontier.next()) is not None:
                ahead.append((next_place, readers.ask(next_place.pi)))
            if not ahead:
                return
            place, question = ahead.popleft()
            found = _answer(readers, question)
            if isinstance(found, Holdings):
                frontier.add(found.entity.children, place)
            yield place, found


def _answer(readers: Readers[Holdings], question: Question[Holdings]) -> Holdings | EntityUnavailable:
    try:
        return readers.answer(question)
    except EntityUnavailable as error:
        return error
    except NotInTime:
        return EntityUnavailable("it took too long", retryable=True, answered=False)


def _enter(found: Holdings | EntityUnavailable, place: Place, tally: Tally) -> None:
    """Count an entity. Raises ProgramFailed if the export cannot go on without it."""
    tally.unanswered = 0 if found.answered else tally.unanswered + 1
    if isinstance(found, Holdings):
        tally.written += 1
        tally.incomplete += found.pinax is None
    else:
        tally.failed += 1
        if place.parent is None:
            raise ProgramFailed(Reason.SOURCE_UNAVAILABLE, str(found), found.retryable) from found
    if tally.unanswered >= MAX_UNANSWERED:
        message = f"The source answered nothing about {tally.unanswered} entities in a row."
        raise ProgramFailed(Reason.SOURCE_UNAVAILABLE, message, retryable=True)


def _progress(tally: Tally, frontier: Frontier) -> dict[str, int]:
    return {"entities_done": tally.written, "entities_failed": tally.failed, "entities_found": frontier.found}


def _metrics(tally: Tally, records: Records) -> dict[str, int]:
    return {
        "entities_exported": tally.written + tally.failed,
        "entities_failed": tally.failed,
        "entities_incomplete": tally.incomplete,
        "entities_written": tally.written,
        "characters_replaced": records.replaced,
    }
