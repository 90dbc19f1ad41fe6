"""XML elements as plain values. An element without content is left out, so that no record has an empty one."""

from collections.abc import Mapping
from typing import NamedTuple


class Element(NamedTuple):
    """An element with children, or with text. A tuple, because a large tree makes millions of them."""

    tag: str
    attributes: Mapping[str, str]
    children: tuple["Element", ...] = ()
    text: str | None = None


Content = str | Element | None


def element(tag: str, *content: Content, **attributes: str) -> Element | None:
    """Return an element with a text or with child elements, or None if all of its content is None."""
    if len(content) == 1 and isinstance(content[0], str):
        return Element(tag, attributes, (), content[0])
    children = tuple(item for item in content if isinstance(item, Element))
    return Element(tag, attributes, children) if children else None
