"""Writes a record as an XML file. lxml escapes; characters that XML 1.0 cannot hold are replaced and counted."""

import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from worker.mods.elements import Element

if TYPE_CHECKING:
    from lxml.etree import _Element

NAMESPACE: Final = "http://www.loc.gov/mods/v3"
INSTANCE: Final = "http://www.w3.org/2001/XMLSchema-instance"
SCHEMA: Final = "https://www.loc.gov/standards/mods/mods-3-8.xsd"
INDENT: Final = "  "

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
FORBIDDEN: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Everything but the Char production (https://www.w3.org/TR/xml/#charsets)."""


def write(record: Element, to: Path) -> int:
    """Write the record as an XML document, and return how many characters were replaced."""
    from lxml import etree  # only an export needs it, and under emulation importing it is slow

    writer = _Writer(etree)
    prefixes: Any = {None: NAMESPACE, "xsi": INSTANCE}  # the stubs do not allow the default namespace
    root = etree.Element(f"{{{NAMESPACE}}}{record.tag}", nsmap=prefixes)
    root.set(f"{{{INSTANCE}}}schemaLocation", f"{NAMESPACE} {SCHEMA}")
    writer.fill(root, record)
    etree.indent(root, INDENT)
    etree.ElementTree(root).write(str(to), encoding="UTF-8", xml_declaration=True, pretty_print=True)
    return writer.replaced


class _Writer:
    def __init__(self, etree: ModuleType) -> None:
        self._etree = etree
        self.replaced = 0

    def fill(self, target: "_Element", element: Element) -> None:
        for name, value in element.attributes.items():
            target.set(name, self._allowed(value))
        if element.text is not None:
            target.text = self._allowed(element.text)
        for child in element.children:
            self.fill(self._etree.SubElement(target, f"{{{NAMESPACE}}}{child.tag}"), child)

    def _allowed(self, text: str) -> str:
        allowed, replaced = FORBIDDEN.subn(REPLACEMENT, text)
        self.replaced += replaced
        return allowed
