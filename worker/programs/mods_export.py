"""The MODS 3.8 export of one entity."""

from shared.domain.order import Reason
from shared.domain.spec import ExportSpec
from worker.arke.source import ArkeSource, EntityUnavailable
from worker.mods.document import write
from worker.mods.holdings import Holdings, gather
from worker.mods.record import record
from worker.programs import Job, ProgramFailed, Result


def export(job: Job[ExportSpec]) -> Result:
    """Write `<PI>.xml`. Raises ProgramFailed if the entity cannot be read."""
    source = ArkeSource(job.http, job.sources)
    try:
        holdings = gather(job.spec.pi, job.spec.options, source)
    except EntityUnavailable as error:
        raise ProgramFailed(Reason.SOURCE_UNAVAILABLE, str(error), error.retryable) from error
    file = job.folder / f"{job.spec.pi}.xml"
    replaced = write(record(holdings, job.spec.options, job.sources), file)
    return Result(file, "application/xml", _metrics(holdings, replaced))


def _metrics(holdings: Holdings, replaced: int) -> dict[str, int]:
    return {
        "entities_exported": 1,
        "entities_failed": 0,
        "entities_incomplete": int(holdings.pinax is None),
        "entities_written": 1,
        "characters_replaced": replaced,
    }
