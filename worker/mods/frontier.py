"""The entities of a tree that wait to be exported, breadth first, each once.

Of each entity that was found it keeps the PI, and of each that waits, its position: no path is written out before it is
needed, so a tree of a million entities takes about 200 MB.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from worker.arke.source import MAX_ID_LENGTH

MAX_ENTITIES: Final = 1_000_000
"""The limit of one export."""


class TreeTooLarge(Exception):
    """The tree has more entities than one export may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The tree has more than {limit} entities: set a smaller max_depth, or export its parts.")


@dataclass(frozen=True, slots=True)
class Position:
    """Where in the tree an entity is: below `parent`, or at its root."""

    pi: str
    parent: "Position | None" = None
    depth: int = 0

    def __str__(self) -> str:
        path = "".join(f"/{pi}" for pi in reversed(list(self._upwards())))
        above = f"parent: {self.parent.pi}, " if self.parent else ""
        return f"depth: {self.depth}, {above}path: {path}"

    def _upwards(self) -> Iterator[str]:
        position: Position | None = self
        while position is not None:
            yield position.pi
            position = position.parent


class Frontier:
    def __init__(self, root: str, max_depth: int, max_entities: int = MAX_ENTITIES) -> None:
        self._max_depth, self._max_entities = max_depth, max_entities
        self._waiting = deque([Position(root)])
        self._found = {root}

    @property
    def found(self) -> int:
        """The number of entities that were found so far, the root included."""
        return len(self._found)

    def next(self) -> Position | None:
        """Take the next position off the frontier, or return None if none waits now."""
        return self._waiting.popleft() if self._waiting else None

    def add(self, children: Iterable[str], parent: Position) -> None:
        """Add those children that are new, unless they are too deep. Raises TreeTooLarge."""
        if parent.depth >= self._max_depth:
            return
        for child in children:
            pi = child[: MAX_ID_LENGTH + 1]  # a longer one cannot be read anyway, and is not kept whole
            if pi not in self._found:
                self._found.add(pi)
                self._waiting.append(Position(pi, parent, parent.depth + 1))
            if len(self._found) > self._max_entities:
                raise TreeTooLarge(self._max_entities)
