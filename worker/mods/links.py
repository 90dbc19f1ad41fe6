"""The elements for an entity's neighbours and files: related items and inventories."""

from collections.abc import Iterator
from typing import Final

from shared.guest.config import Sources
from worker.arke.documents import Entity, Reference
from worker.mods.addresses import below
from worker.mods.elements import Element, element
from worker.mods.holdings import CHEIMARROS, DESCRIPTION, PINAX, REFERENCE_SUFFIX, Holdings

UNLINKED: Final = frozenset(
    {PINAX, DESCRIPTION, CHEIMARROS, "cheimarros-raw.txt", "reorganization-description.txt"},
)
"""Components that the record describes elsewhere, or that are internal."""


def inventories(entity: Entity) -> Iterator[Element | None]:
    if entity.children:
        note = f"{len(entity.children)} child entities"
        yield element("note", note, type="children-inventory", displayLabel="Child Entities")
    if entity.components:
        lines = [f"Component inventory ({len(entity.components)} files):", *sorted(entity.components)]
        yield element("note", "\n".join(lines), type="component-inventory", displayLabel="Component Files")


def related(holdings: Holdings, include_ocr: bool, sources: Sources) -> Iterator[Element | None]:
    entity = holdings.entity
    for name, reference in holdings.references.items():
        yield _referenced(name, reference, include_ocr)
    if entity.parent:
        yield _neighbour("host", "Parent Entity", "Parent", entity.parent, sources)
    for number, child in enumerate(entity.children, 1):
        yield _neighbour("constituent", f"Child Entity {number}", "Child", child, sources)
    for name, cid in entity.components.items():
        if name not in UNLINKED and name not in holdings.references:
            yield _component(name, cid, sources)


def _referenced(name: str, reference: Reference, include_ocr: bool) -> Element | None:
    return element(
        "relatedItem",
        element("identifier", reference.url, type="uri"),
        element("identifier", reference.ipfs_cid, type="ipfs-cid"),
        element(
            "physicalDescription",
            element("internetMediaType", reference.type),
            element("extent", None if reference.size is None else f"{reference.size} bytes"),
        ),
        element("note", reference.ocr if include_ocr else None, type="ocr", displayLabel="OCR Text"),
        type="constituent",
        displayLabel=reference.filename or name.removesuffix(REFERENCE_SUFFIX),
    )


def _neighbour(kind: str, label: str, role: str, pi: str, sources: Sources) -> Element | None:
    return element(
        "relatedItem",
        element("identifier", pi, type="arke-pi", displayLabel=f"{role} PI"),
        element("location", element("url", below(sources.web, pi), displayLabel=f"View {role} in Arke")),
        type=kind,
        displayLabel=label,
    )


def _component(name: str, cid: str, sources: Sources) -> Element | None:
    return element(
        "relatedItem",
        element("identifier", cid, type="ipfs-cid"),
        element("identifier", f"{sources.ipfs}/ipfs/{cid}", type="uri"),
        element("identifier", f"{sources.api}/cat/{cid}", type="uri"),
        type="constituent",
        displayLabel=name,
    )
