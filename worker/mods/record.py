"""An entity's MODS record: the crosswalk, element by element, in the order of the file."""

from collections.abc import Iterator
from typing import Final

from shared.domain.spec import ExportOptions
from shared.guest.config import Sources
from worker.arke.documents import Entity, Pinax
from worker.mods import graph, links
from worker.mods.addresses import address, below
from worker.mods.elements import Element, element
from worker.mods.holdings import Holdings
from worker.mods.languages import iso639_2b

PUBLISHER: Final = "Arke Institute"
PLACEHOLDER: Final = "PLACEHOLDER"
"""The access URL of an entity for which nobody has set one."""

RESOURCE_TYPES: Final = {
    "Collection": "mixed material",
    "Dataset": "software, multimedia",
    "Image": "still image",
    "InteractiveResource": "software, multimedia",
    "MovingImage": "moving image",
    "PhysicalObject": "three dimensional object",
    "Software": "software, multimedia",
    "Sound": "sound recording",
    "StillImage": "still image",
}
"""DCMI types to MODS's; any other is text."""


def record(
    holdings: Holdings, options: ExportOptions, sources: Sources, position: str | None = None
) -> Iterator[Element]:
    """Yield the record's elements, or those of a minimal one if the entity has no readable pinax.

    `position` says where in a tree the entity is.
    """
    pinax = holdings.pinax
    elements = _full(holdings, pinax, options, sources) if pinax else _minimal(holdings, options, sources)
    yield from (each for each in elements if each is not None)
    if position is not None:
        yield Element("note", {"type": "hierarchy", "displayLabel": "Tree Position"}, text=position)


def _full(holdings: Holdings, pinax: Pinax, options: ExportOptions, sources: Sources) -> Iterator[Element | None]:
    entity = holdings.entity
    yield element("titleInfo", element("title", pinax.title))
    for creator in pinax.creators:
        yield _name(creator, "personal", "creator")
    yield _name(pinax.institution, "corporate", "repository")
    yield element("typeOfResource", pinax.type and RESOURCE_TYPES.get(pinax.type, "text"))
    yield element("originInfo", element("dateCreated", pinax.created, encoding="w3cdtf", keyDate="yes"))
    yield _language(pinax)
    yield element("abstract", holdings.description or pinax.description)
    yield _version(entity)
    yield element("note", _summary(holdings, pinax), type="summary", displayLabel="PINAX Description")
    yield element("note", pinax.source, type="source", displayLabel="Source System")
    yield from links.inventories(entity)
    yield from graph.notes(holdings.graph, options.cheimarros_mode)
    for subject in pinax.subjects:
        yield element("subject", element("topic", subject))
    for place in pinax.places:
        yield element("subject", element("geographic", place))
    yield from graph.subjects(holdings.graph, options.cheimarros_mode)
    yield from links.related(holdings, options.include_ocr, sources)
    yield from _whereabouts(entity, pinax, sources)
    yield element("accessCondition", pinax.rights, type="use and reproduction")
    yield element(
        "recordInfo",
        element("recordContentSource", PUBLISHER),
        element("recordIdentifier", entity.pi, source="arke-pi"),
        element("recordCreationDate", entity.ts, encoding="w3cdtf"),
        element("descriptionStandard", "pinax"),
    )


def _minimal(holdings: Holdings, options: ExportOptions, sources: Sources) -> Iterator[Element | None]:
    """Yield what the manifest alone gives, and a note on how to complete the record."""
    entity = holdings.entity
    yield element("titleInfo", element("title", f"[Incomplete Record: {entity.pi}]"), type="alternative")
    yield element("abstract", holdings.description)
    yield element("note", "The entity has no readable pinax.json: its metadata is missing.", type="metadata-status")
    yield element("note", "Add a valid pinax.json to the entity, then export it again.", type="metadata-remediation")
    yield from links.inventories(entity)
    yield from graph.notes(holdings.graph, options.cheimarros_mode)
    yield from graph.subjects(holdings.graph, options.cheimarros_mode)
    yield from links.related(holdings, options.include_ocr, sources)
    yield element("identifier", entity.pi, type="arke-pi")
    yield element("identifier", entity.manifest_cid, type="arke-manifest-cid")
    yield element("location", element("url", f"{sources.api}/entities/{entity.pi}", usage="primary"))
    yield element(
        "recordInfo",
        element("recordContentSource", PUBLISHER),
        element("recordIdentifier", entity.pi, source="arke-pi"),
        element("recordCreationDate", entity.ts, encoding="w3cdtf"),
        element("recordOrigin", "Made from the entity's manifest alone."),
        element("descriptionStandard", "mods"),
        element("languageOfCataloging", _code("eng")),
    )


def _name(name: str | None, kind: str, role: str) -> Element | None:
    if name is None:
        return None
    return element(
        "name", element("namePart", name), element("role", element("roleTerm", role, type="text")), type=kind
    )


def _language(pinax: Pinax) -> Element | None:
    return element("language", _code(iso639_2b(pinax.language) if pinax.language else None))


def _code(language: str | None) -> Element | None:
    return element("languageTerm", language, type="code", authority="iso639-2b")


def _version(entity: Entity) -> Element | None:
    note = f"Version {entity.ver} • Manifest CID: {entity.manifest_cid}"
    return element("note", note, type="version", displayLabel="Arke Version")


def _summary(holdings: Holdings, pinax: Pinax) -> str | None:
    """Return the pinax's description if it differs from the abstract."""
    if holdings.description is None or pinax.description is None:
        return None
    return None if holdings.description.strip() == pinax.description.strip() else pinax.description


def _whereabouts(entity: Entity, pinax: Pinax, sources: Sources) -> Iterator[Element | None]:
    here = f"{sources.web}/{entity.pi}"
    given = None if pinax.access_url == PLACEHOLDER else pinax.access_url
    yield element("identifier", pinax.id, type="local", displayLabel="PINAX ID")
    yield element("identifier", entity.pi, type="arke-pi", displayLabel="Arke Persistent Identifier")
    yield element("identifier", given or here, type="uri", displayLabel="Arke URI")
    yield element(
        "location",
        element("physicalLocation", pinax.institution),
        element(
            "url", address(given) or here, usage="primary", access="object in context", displayLabel="View in Arke"
        ),
        element("url", below(f"{sources.ipfs}/ipfs", entity.manifest_cid), displayLabel="IPFS Manifest"),
    )
