"""The elements for an entity's knowledge graph, in the mode that the order chose."""

from collections.abc import Iterator
from typing import Final

from shared.domain.spec import CheimarrosMode
from worker.arke.documents import Code, Graph, Node
from worker.mods.elements import Element, element

NAMES: Final = {"person": "personal", "organization": "corporate"}
TERMS: Final = {"place": "geographic", "concept": "topic", "date": "temporal"}
OWN_FILE: Final = "document"
"""Nodes of this type are the entity's own files, which the record links already."""
DESCRIPTION: Final = "description"


def subjects(graph: Graph | None, mode: CheimarrosMode) -> Iterator[Element | None]:
    if graph is None or mode is CheimarrosMode.SKIP:
        return
    for node in graph.nodes.values():
        yield _subject(node, mode)


def notes(graph: Graph | None, mode: CheimarrosMode) -> Iterator[Element | None]:
    if graph is None or mode is not CheimarrosMode.FULL:
        return
    for node in graph.nodes.values():
        yield from _properties(node, graph)
    yield from _relations(graph)


def _subject(node: Node, mode: CheimarrosMode) -> Element | None:
    if node.type in NAMES:
        return element("subject", element("name", element("namePart", node.label), type=NAMES[node.type]))
    if node.type in TERMS:
        return element("subject", element(TERMS[node.type], node.label))
    if node.type == OWN_FILE or mode is not CheimarrosMode.FULL:
        return None
    return element("subject", element("topic", node.label))


def _properties(node: Node, graph: Graph) -> Iterator[Element | None]:
    for name, value in node.properties.items():
        if name != DESCRIPTION:
            note = f"{node.label} • {name}: {_label(value, graph)}"
            yield element("note", note, type="cheimarros-property", displayLabel="Graph Property")


def _label(value: str | Code, graph: Graph) -> str:
    """Return a text, or the label of the node that a code refers to, or the code if there is no such node."""
    if isinstance(value, str):
        return value
    node = graph.nodes.get(value.value)
    return node.label if node else value.value


def _relations(graph: Graph) -> Iterator[Element | None]:
    for relation in graph.relations:
        source, target = graph.nodes.get(relation.source), graph.nodes.get(relation.target)
        if source and target:
            yield element("note", f"{source.label} → {relation.type} → {target.label}", type="cheimarros-relation")
