"""How a later version of the control plane would answer: with fields more, and values more in its lists."""

from typing import Any, Final

LISTS: Final = frozenset({"state", "reason", "why"})
"""Fields whose values are of a list that may grow."""
OPEN: Final = frozenset({"metrics", "entered", "headers"})
"""Fields that hold whatever names they like."""
OF_LATER: Final = "of_a_later_version"


def with_more_fields(document: Any) -> Any:
    """Return the document with a field more in each of its objects."""
    match document:
        case dict():
            parts = {name: part if name in OPEN else with_more_fields(part) for name, part in document.items()}
            return {**parts, OF_LATER: {"one": [1]}}
        case list():
            return [with_more_fields(part) for part in document]
        case _:
            return document


def with_more_values(document: Any) -> Any:
    """Return the document with values of a later version for all that are from a list."""
    match document:
        case dict():
            parts = {name: with_more_values(part) for name, part in document.items()}
            later = {name: OF_LATER for name in LISTS & parts.keys() if isinstance(parts[name], str)}
            entered = {"entered": {**parts["entered"], OF_LATER: "2026-11-22T12:00:00Z"}} if "entered" in parts else {}
            return {**parts, **later, **entered}
        case list():
            return [with_more_values(part) for part in document]
        case _:
            return document
