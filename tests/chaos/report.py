"""A chaos run's report, as JSON and as text: the orders, the disruptions, and what they led to."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from shared.domain.order import State
from tests.chaos.checker import Verdict, Wrong
from tests.chaos.observations import Effects
from tests.chaos.orphans import bound
from tests.chaos.schedule import Terms


@dataclass(frozen=True, slots=True)
class Failure:
    """An order that failed, with its reason and message."""

    order_id: str
    text: str
    reason: str
    attempts: int
    message: str


@dataclass(frozen=True, slots=True)
class Report:
    """`settled`: after how many seconds everything had settled once the storm was over."""

    terms: Terms
    settled: float
    verdict: Verdict
    effects: Effects
    broken: Mapping[str, int]
    faults: Mapping[str, int]
    machines_started: Mapping[str, int]
    errors: Mapping[str, int]
    """How often the functions and the launchers logged each error."""
    failures: tuple[Failure, ...]


REPORT: Final = TypeAdapter(Report)


def write(report: Report, home: Path) -> str:
    """Write `report.json` and `report.txt` into the run's folder; return the text."""
    text = "\n".join(_lines(report)) + "\n"
    (home / "report.json").write_bytes(REPORT.dump_json(report, indent=2) + b"\n")
    (home / "report.txt").write_text(text)
    return text


def counts(verdict: Verdict) -> str:
    """Return the line that counts what must be 0, among others."""
    failed = ", ".join(f"{reason} {count}" for reason, count in sorted(verdict.failed.items()))
    figures = [
        f"created {verdict.created}",
        f"succeeded {verdict.states.get(State.SUCCEEDED, 0)}",
        f"failed {verdict.states.get(State.FAILED, 0)}{f' ({failed})' if failed else ''}",
        f"cancelled {verdict.states.get(State.CANCELLED, 0)}",
        f"expired {verdict.states.get(State.EXPIRED, 0)}",
        f"running {verdict.states.get(State.RUNNING, 0)}",
        f"duplicates {verdict.count(Wrong.DUPLICATE)}",
        f"orphans {verdict.count(Wrong.ORPHAN)}",
        f"ghosts {verdict.count(Wrong.GHOST)}",
        f"lost {verdict.count(Wrong.LOST)}",
    ]
    return " / ".join(figures)


def _lines(report: Report) -> Iterator[str]:
    terms, verdict = report.terms, report.verdict
    yield f"seed {terms.seed}, {terms.seconds:g} s, {terms.orders} orders, {terms.launchers} launchers ({terms.run})"
    yield f"a lease lasts {terms.lease:.0f} s"
    yield f"settled {report.settled:.0f} s after the storm"
    yield counts(verdict)
    refused, ended = verdict.count(Wrong.REFUSED), verdict.count(Wrong.ENDED)
    unexplained = verdict.count(Wrong.UNEXPLAINED)
    yield f"unanswered {verdict.unanswered} / refused {refused} / servers that ended by themselves {ended}"
    yield f"unexplained ends {unexplained} / hollow {verdict.count(Wrong.HOLLOW)}"
    yield f"requeued {verdict.requeued} / purged {verdict.purged} / downloaded {verdict.downloaded}"
    yield f"longest orphan {verdict.longest_orphan:.0f} s, of {bound(terms.lease):.0f} s allowed"
    yield f"stale uploads {len(verdict.stale_uploads)}"
    for title, figures in (
        (
            "effects of the disruptions",
            {name.replace("_", " "): count for name, count in asdict(report.effects).items()},
        ),
        ("broken", report.broken),
        ("faults", report.faults),
        ("machines started", report.machines_started),
        ("errors logged", report.errors),
    ):
        yield f"{title}:{'' if figures else ' none'}"
        yield from (f"  {name}: {count}" for name, count in sorted(figures.items()))
    for failure in report.failures:
        message = " ".join(failure.message.split())
        yield f"failed: {failure.order_id} ({failure.text}), {failure.attempts} attempts, {failure.reason}: {message}"
    for violation in verdict.violations:
        yield f"{violation.wrong.upper()}: {violation.what}"
