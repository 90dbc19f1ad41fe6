"""Shows a check's rows, as a table or as one JSON object."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy.rows import Row, RowVerdict
from shared.exit_codes import FAILED

COMPLETE: Final = 0
BLIND: Final = 2
"""Something cannot be seen: whether all is there is not known."""
STYLES: Final = {
    RowVerdict.OK: "green",
    RowVerdict.MISSING: "red",
    RowVerdict.WRONG: "red",
    RowVerdict.EXCESS: "yellow",
    RowVerdict.UNSEEN: "magenta",
}


def exit_code(rows: Sequence[Row]) -> int:
    """Return 0 if all is there, 1 if something is not, 2 if something cannot be seen and the rest is there."""
    verdicts = {row.verdict for row in rows}
    if verdicts & {RowVerdict.MISSING, RowVerdict.WRONG, RowVerdict.EXCESS}:
        return FAILED
    return BLIND if RowVerdict.UNSEEN in verdicts else COMPLETE


def document(rows: Sequence[Row]) -> dict[str, object]:
    return {
        "complete": exit_code(rows) == COMPLETE,
        "rows": [
            {
                "subject": row.subject,
                "name": row.name,
                "verdict": row.verdict,
                "found": row.found,
                "to_do": row.to_do,
            }
            for row in rows
        ],
    }


def show(rows: Sequence[Row], out: Console) -> None:
    """Print how many things of each kind are as they must be, and the faults, each next step below all that need it."""
    table = Table("what", "", "found", box=None)
    for subject, verdict, found in _summary(rows):
        table.add_row(subject, f"[{STYLES[verdict]}]{verdict}[/]", escape(found))
    out.print(table)
    faults = [row for row in rows if row.verdict is not RowVerdict.OK]
    for to_do in dict.fromkeys(row.to_do for row in faults):
        out.print()
        for row in faults:
            if row.to_do == to_do:
                line = f"{row.subject} {row.name}: {row.found}"
                out.print(line, style=STYLES[row.verdict], markup=False, soft_wrap=True)
        out.print(f"  to do: {to_do}", markup=False, soft_wrap=True)
    counts = Counter(row.verdict for row in faults)
    shown = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    out.print(f"\n{f'{shown}.' if faults else f'All {len(rows)} things are there.'}")


def _summary(rows: Sequence[Row]) -> Iterator[tuple[str, RowVerdict, str]]:
    for subject in dict.fromkeys(row.subject for row in rows):
        counts = Counter(row.verdict for row in rows if row.subject == subject)
        for verdict in RowVerdict:
            if count := counts.get(verdict):
                yield subject, verdict, str(count)
