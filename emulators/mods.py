"""Validates a file against the published schema of MODS 3.8, without a network."""

from functools import cache
from pathlib import Path
from typing import Final

from lxml import etree

NAMESPACE: Final = "http://www.loc.gov/mods/v3"
SCHEMAS: Final = Path(__file__).parent / "schemas" / "mods"
IMPORTED: Final = {
    "http://www.loc.gov/mods/xml.xsd": "xml.xsd",
    "http://www.loc.gov/standards/xlink/xlink.xsd": "xlink.xsd",
}
"""The addresses that mods-3-8.xsd imports, and the local files to use instead."""


def validate(path: Path) -> list[str]:
    """Return one line for each error in the file. The list is empty if the file is valid MODS 3.8."""
    try:
        document = etree.parse(str(path), _parser())
    except etree.XMLSyntaxError as error:
        return [f"not well-formed: {error}"]
    schema = _schema()
    schema.validate(document)
    return str(schema.error_log).splitlines()


@cache
def _schema() -> etree.XMLSchema:
    document = etree.parse(str(SCHEMAS / "mods-3-8.xsd"), _parser())
    for clause in document.iter("{http://www.w3.org/2001/XMLSchema}import"):
        clause.set("schemaLocation", IMPORTED[str(clause.get("schemaLocation"))])
    return etree.XMLSchema(document)


def _parser() -> etree.XMLParser:
    return etree.XMLParser(no_network=True, resolve_entities=False)
