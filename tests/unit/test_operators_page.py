"""docs/operators.md says of each log event what it means and what to do about it."""

import re
from pathlib import Path
from typing import Final

from shared.log_events import LogEvent

PAGE: Final = Path(__file__).parents[2] / "docs" / "operators.md"
ROW: Final = re.compile(r"^\| `(\w+)` \| (.+) \| (.+) \|$", re.MULTILINE)


def test_every_log_event_has_one_row_with_a_meaning_and_an_action_and_no_row_is_of_another() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = ROW.findall(text[text.index("## Log events") :])

    assert sorted(name for name, _, _ in rows) == sorted(LogEvent)
