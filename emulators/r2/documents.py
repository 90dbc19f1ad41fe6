"""Reads the XML documents of S3's API (https://docs.aws.amazon.com/AmazonS3/latest/API/)."""

from lxml import etree

from emulators.r2.request import NotAllowed


def keys_to_delete(document: bytes) -> list[str]:
    """Return the keys of a DeleteObjects request. Raises NotAllowed."""
    return [_text(key) for key in _parse(document).findall("{*}Object/{*}Key")]


def part_numbers(document: bytes) -> list[int]:
    """Return the numbers of the parts of a CompleteMultipartUpload request. Raises NotAllowed."""
    try:
        return [int(_text(number)) for number in _parse(document).findall("{*}Part/{*}PartNumber")]
    except ValueError as error:
        raise _malformed() from error


def part_sizes(document: bytes) -> dict[int, int]:
    """Return the sizes in bytes of the parts that a ListParts answer names, by number. Raises NotAllowed."""
    parts = _parse(document).findall("{*}Part")
    return {int(part.findtext("{*}PartNumber", "")): int(part.findtext("{*}Size", "")) for part in parts}


def _parse(document: bytes) -> etree._Element:
    try:
        return etree.fromstring(document, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError as error:
        raise _malformed() from error


def _text(element: etree._Element) -> str:
    return element.text or ""


def _malformed() -> NotAllowed:
    return NotAllowed(400, "MalformedXML", "The body is not the XML document of this operation.")
