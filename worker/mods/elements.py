"""XML elements as plain values. An element without content is left out, so that no record has an empty one."""

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
    """Return an element with a text or with child elements, or None if all of its content is None."""
    texts = [item for item in content if isinstance(item, str)]
    children = tuple(item for item in content if isinstance(item, Element))
    if not texts and not children:
        return None
    present = {name: value for name, value in attributes.items() if value is not None}
    return Element(tag, present, children, "".join(texts) if texts else None)
