"""XML elements as plain values: what has nothing to say is not there, so that no empty element reaches a record."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Element:
    """An element with children, or with text."""

    tag: str
    attributes: Mapping[str, str]
    children: tuple["Element", ...] = ()
    text: str | None = None


Content = str | Element | None


def element(tag: str, *content: Content, **attributes: str | None) -> Element | None:
    """Return an element of a text or of child elements; None where all of its content is None."""
    said = [part for part in content if part is not None]
    if not said:
        return None
    texts = [part for part in said if isinstance(part, str)]
    children = tuple(part for part in said if isinstance(part, Element))
    present = {name: value for name, value in attributes.items() if value is not None}
    return Element(tag, present, children, "".join(texts) if texts else None)
