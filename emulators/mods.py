"""Whether a file is valid MODS 3.8: checked against the published schema, without a network."""

from functools import cache
from pathlib import Path
from typing import Final

from lxml import etree

SCHEMAS: Final = Path(__file__).parent / "schemas" / "mods"
IMPORTED: Final = {
    "http://www.loc.gov/mods/xml.xsd": "xml.xsd",
    "http://www.loc.gov/standards/xlink/xlink.xsd": "xlink.xsd",
}
"""The addresses that mods-3-8.xsd imports, and the files beside it that stand for them."""


def validate(path: Path) -> list[str]:
    """Return what is wrong with the file, one line a finding, empty where it is valid MODS 3.8."""
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
