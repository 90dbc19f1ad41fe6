"""The rows of a check: what was looked for, what was found, and the next step."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias, TypeVar

from pydantic import ValidationError

APPLY: Final = "terraform apply"
AT_ONCE: Final = 8
"""How many requests one entity's look sends at once."""

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


class RowVerdict(StrEnum):
    OK = "ok"
    MISSING = "missing"
    WRONG = "wrong"
    EXCESS = "excess"
    """It is there, and should not be: a role too many."""
    UNSEEN = "unseen"
    """It cannot be seen, so nothing is known about it."""


@dataclass(frozen=True, slots=True)
class Row:
    """`subject` is a kind of thing, such as `index`. `found` and `to_do` hold no value of a setting or secret."""

    subject: str
    name: str
    verdict: RowVerdict = RowVerdict.OK
    found: str = ""
    to_do: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """What is read, and the role with which that is allowed."""

    subject: str
    name: str
    role: str


class NotSeen(Exception):
    """What is to be read cannot be seen: why, and the next step."""

    def __init__(self, why: str, to_do: str) -> None:
        super().__init__(why)
        self.to_do = to_do


class Denied(NotSeen):
    """The caller lacks a role."""

    def __init__(self) -> None:
        super().__init__("access is denied", "")


@dataclass(frozen=True, slots=True)
class Unseen:
    """Stands for a value that could not be read; the row says why."""

    row: Row


Seen: TypeAlias = T | Unseen


def see(query: Query, read: Callable[[], T]) -> Seen[T]:
    """Return what `read` returns, or why it cannot be seen."""
    try:
        return read()
    except Denied as error:
        return _unseen(query, str(error), f"needs {query.role}, granted to whoever runs this check")
    except NotSeen as error:
        return _unseen(query, str(error), error.to_do)
    except (IndexError, KeyError, ValidationError):  # of a document that is parsed
        return _unseen(query, "an answer is not as Google documents it", "run the check of a newer version")


def see_each(query: Query, keys: Iterable[K], read: Callable[[K], T]) -> Mapping[K, Seen[T]]:
    """Return what `read` returns for each key; several run at once."""
    wanted = list(keys)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(wanted, pool.map(lambda key: see(query, lambda: read(key)), wanted), strict=True))


def _unseen(query: Query, why: str, to_do: str) -> Unseen:
    return Unseen(Row(query.subject, query.name, RowVerdict.UNSEEN, f"cannot be seen: {why}", to_do))


def missing(subject: str, name: str, found: str = "it is not there", to_do: str = APPLY) -> Row:
    return Row(subject, name, RowVerdict.MISSING, found, to_do)


def wrong(subject: str, name: str, found: str, to_do: str = APPLY) -> Row:
    return Row(subject, name, RowVerdict.WRONG, found, to_do)
