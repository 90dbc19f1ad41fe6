"""Everything of one entity that goes into its record, read from the source."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from shared.domain.spec import CheimarrosMode, ExportOptions
from worker.arke import documents
from worker.arke.documents import Entity, Graph, Pinax, Reference, UnreadableDocument
from worker.arke.source import ArkeSource, Unanswered

PINAX: Final = "pinax.json"
DESCRIPTION: Final = "description.md"
CHEIMARROS: Final = "cheimarros.json"
REFERENCE_SUFFIX: Final = ".ref.json"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Holdings:
    """`pinax` None makes the record a minimal one. `references` are those that could be read, by component name.

    If not `answered`, the source answered none of the requests for components: it may be gone.
    """

    entity: Entity
    pinax: Pinax | None = None
    description: str | None = None
    graph: Graph | None = None
    references: Mapping[str, Reference] = field(default_factory=dict)
    answered: bool = True


def gather(pi: str, options: ExportOptions, source: ArkeSource) -> Holdings:
    """Read an entity and its components. An unreadable component counts as missing. Raises EntityUnavailable."""
    entity = source.entity(pi)
    shelf = _Shelf(entity, source)
    return Holdings(
        entity,
        pinax=shelf.take(PINAX, documents.pinax),
        description=shelf.take(DESCRIPTION, documents.text),
        graph=None if options.cheimarros_mode is CheimarrosMode.SKIP else shelf.take(CHEIMARROS, documents.graph),
        references=shelf.references(),
        answered=shelf.answered,
    )


class _Shelf:
    """The components of an entity, taken one after the other."""

    def __init__(self, entity: Entity, source: ArkeSource) -> None:
        self._entity, self._source = entity, source
        self._asked = self._unanswered = 0

    @property
    def answered(self) -> bool:
        return self._asked == 0 or self._unanswered < self._asked

    def take(self, name: str, read: Callable[[bytearray], T]) -> T | None:
        cid = self._entity.components.get(name)
        if cid is None:
            return None
        self._asked += 1
        try:
            return self._source.component(cid, read)
        except Unanswered:
            self._unanswered += 1
        except UnreadableDocument:
            pass
        return None

    def references(self) -> dict[str, Reference]:
        names = [name for name in self._entity.components if name.endswith(REFERENCE_SUFFIX)]
        taken = {name: self.take(name, documents.reference) for name in names}
        return {name: reference for name, reference in taken.items() if reference is not None}
