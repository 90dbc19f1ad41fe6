"""Answers of a later version of the control plane: with further fields, and further values in its lists."""

from typing import Any, Final

LISTS: Final = frozenset({"state", "reason", "why"})
"""Fields whose values come from a list that may grow."""
OPEN: Final = frozenset({"metrics", "progress", "entered", "headers", "variables", "environment"})
"""Fields that may hold any names."""
OF_LATER: Final = "of_a_later_version"


def with_more_fields(document: Any) -> Any:
    """Return the document with a further field in each of its objects."""
    match document:
        case dict():
            fields = {name: value if name in OPEN else with_more_fields(value) for name, value in document.items()}
            return {**fields, OF_LATER: {"one": [1]}}
        case list():
            return [with_more_fields(value) for value in document]
        case _:
            return document


def with_more_values(document: Any) -> Any:
    """Return the document with a later version's value in place of each value that comes from a list."""
    match document:
        case dict():
            fields = {name: with_more_values(value) for name, value in document.items()}
            later = {name: OF_LATER for name in LISTS & fields.keys() if isinstance(fields[name], str)}
            entered = (
                {"entered": {**fields["entered"], OF_LATER: "2026-11-22T12:00:00Z"}} if "entered" in fields else {}
            )
            return {**fields, **later, **entered}
        case list():
            return [with_more_values(value) for value in document]
        case _:
            return document
