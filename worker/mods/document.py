"""Writes records to an XML file, one element after the other: none is in memory once it is written.

lxml escapes; characters that XML 1.0 cannot hold are replaced and counted.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from lxml import etree

from worker.mods.elements import Element

NAMESPACE: Final = "http://www.loc.gov/mods/v3"
INSTANCE: Final = "http://www.w3.org/2001/XMLSchema-instance"
SCHEMA: Final = "https://www.loc.gov/standards/mods/mods-3-8.xsd"
VERSION: Final = "3.8"
INDENT: Final = "  "
ENCODING: Final = "UTF-8"

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
FORBIDDEN: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Everything but the Char production (https://www.w3.org/TR/xml/#charsets)."""

ROOT_NAMES: Final[Any] = {None: NAMESPACE, "xsi": INSTANCE}  # the stubs do not allow the default namespace
ROOT_ATTRIBUTES: Final = {f"{{{INSTANCE}}}schemaLocation": f"{NAMESPACE} {SCHEMA}"}


class Records:
    """The records of a file. `replaced` counts the characters that were replaced so far."""

    def __init__(self, xml: Any, collection: bool) -> None:  # lxml-stubs has no type for an incremental writer
        self._xml, self._collection = xml, collection
        self.replaced = 0

    def add(self, pi: str, elements: Iterable[Element]) -> None:
        """Write a record. Only a collection's records have an ID, which is unique in the file if the PIs are."""
        if self._collection:
            self._xml.write(INDENT)
            with self._xml.element("mods", {"version": VERSION, "ID": f"entity-{pi}"}):
                self._fill(elements, level=1)
            self._xml.write("\n")
        else:
            with self._xml.element(f"{{{NAMESPACE}}}mods", ROOT_ATTRIBUTES | {"version": VERSION}, nsmap=ROOT_NAMES):
                self._fill(elements, level=0)

    def _fill(self, elements: Iterable[Element], level: int) -> None:
        before = f"\n{INDENT * (level + 1)}"
        for element in elements:
            self._xml.write(before)
            self._xml.write(self._built(element, before))
        self._xml.write(f"\n{INDENT * level}")

    def _built(self, element: Element, before: str) -> "etree._Element":
        """Return the element without a namespace: it is written where MODS's is the default one."""
        built = etree.Element(element.tag, self._attributes(element))
        self._complete(built, element, before)
        return built

    def _complete(self, built: "etree._Element", element: Element, before: str) -> None:
        if element.text is not None:
            built.text = self._allowed(element.text)
        if element.children:
            inside = before + INDENT
            built.text = inside
            for child in element.children:
                below = etree.SubElement(built, child.tag, self._attributes(child))
                self._complete(below, child, inside)
                below.tail = inside
            below.tail = before

    def _attributes(self, element: Element) -> dict[str, str]:
        return {name: self._allowed(value) for name, value in element.attributes.items()}

    def _allowed(self, text: str) -> str:
        allowed, replaced = FORBIDDEN.subn(REPLACEMENT, text)
        self.replaced += replaced
        return allowed


@contextmanager
def writing(file: Path, collection: bool) -> Iterator[Records]:
    """Write the records that the caller adds: exactly one, or if `collection` one or more."""
    with file.open("wb") as out:
        with etree.xmlfile(out, encoding=ENCODING) as xml:
            xml.write_declaration()
            records = Records(xml, collection)
            if collection:
                with xml.element(f"{{{NAMESPACE}}}modsCollection", ROOT_ATTRIBUTES, nsmap=ROOT_NAMES):
                    xml.write("\n")
                    yield records
            else:
                yield records
        out.write(b"\n")
