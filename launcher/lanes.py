"""Which orders a launcher takes."""

from shared.domain.spec import ANY_POOL, NodeSize, OrderKind


def served(datacenter: str) -> tuple[str, ...]:
    """Return the lanes of a launcher in this datacenter: its own capacity, and work that may run anywhere."""
    capacity = tuple(f"{datacenter}/{OrderKind.CAPACITY}/{size}" for size in NodeSize)
    return (*capacity, f"{ANY_POOL}/{OrderKind.EXPORT}", f"{ANY_POOL}/{OrderKind.TASK}")
