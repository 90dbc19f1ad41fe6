"""Reads the filters of Pub/Sub's subscriptions, and says which attributes of a message they select.

The emulator stores a filter unread and ignores it, so this is the grammar that Google documents, as far as bells may
need it: https://docs.cloud.google.com/pubsub/docs/subscription-message-filter

    filter      = all | any | unary
    all         = unary "AND" unary {"AND" unary}      AND and OR are not mixed without parentheses
    any         = unary "OR" unary {"OR" unary}
    unary       = ["NOT"] condition
    condition   = "(" filter ")"
                | "attributes" ":" key                 the message has the attribute
                | "attributes" "." key ("=" | "!=") string
                | "hasPrefix" "(" "attributes" "." key "," string ")"
    key         = letters, digits, "-" and "_", or a string
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

MAX_BYTES: Final = 256
TOKEN: Final = re.compile(r"""\s*(?:(?P<token>"(?:[^"\\\n]|\\.)*"|[A-Za-z0-9_-]+|!=|[=:.,()])|$)""", re.DOTALL)
KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
RESERVED: Final = frozenset({"AND", "NOT", "OR"})

Attributes = Mapping[str, str]
Selects = Callable[[Attributes], bool]


class FilterInvalid(ValueError):
    """Pub/Sub would refuse the filter, and with it the subscription."""


def parse(text: str) -> Selects:
    """Return what tells by a message's attributes whether it is delivered. Raises FilterInvalid."""
    if (size := len(text.encode())) > MAX_BYTES:
        raise FilterInvalid(f"it has {size} bytes, more than {MAX_BYTES}: {text}")
    reader = _Reader(text, [*_tokens(text)])
    selects = reader.filter()
    if reader.tokens:
        raise reader.unexpected("nothing more: use parentheses to mix AND and OR")
    return selects


def _tokens(text: str) -> Iterator[str]:
    at = 0
    while (found := TOKEN.match(text, at)) is not None and found["token"] is not None:
        yield found["token"]
        at = found.end()
    if found is None:
        raise FilterInvalid(f"at character {at} is no name, string or sign of the grammar: {text}")


@dataclass(frozen=True, slots=True)
class _Reader:
    """Takes `tokens` from the front. Each method but the last two reads what the grammar calls by the same name."""

    text: str
    tokens: list[str]

    def filter(self) -> Selects:
        terms = [self._unary()]
        join = self._next()
        if join not in ("AND", "OR"):
            return terms[0]
        while self._next() == join:
            self._take(join)
            terms.append(self._unary())
        combined = all if join == "AND" else any
        return lambda attributes: combined(term(attributes) for term in terms)

    def _unary(self) -> Selects:
        if self._next() != "NOT":
            return self._condition()
        self._take("NOT")
        negated = self._condition()
        return lambda attributes: not negated(attributes)

    def _condition(self) -> Selects:
        first = self._take("(", "attributes", "hasPrefix")
        if first == "(":
            inner = self.filter()
            self._take(")")
            return inner
        if first == "hasPrefix":
            return self._prefix()
        if self._take(":", ".") == ":":
            present = self._key()
            return lambda attributes: present in attributes
        key, sign, value = self._key(), self._take("=", "!="), self._string()
        return lambda attributes: (attributes.get(key) == value) is (sign == "=")

    def _prefix(self) -> Selects:
        for token in ("(", "attributes", "."):
            self._take(token)
        key = self._key()
        self._take(",")
        prefix = self._string()
        self._take(")")
        return lambda attributes: key in attributes and attributes[key].startswith(prefix)

    def _key(self) -> str:
        key = self._next()
        if KEY.fullmatch(key) is None or key in RESERVED:
            return self._string()
        return self._take(key)

    def _string(self) -> str:
        if not self._next().startswith('"'):
            raise self.unexpected("a string in double quotation marks")
        return str(json.loads(self._take(self._next())))

    def _next(self) -> str:
        """Return the next token; "" at the end."""
        return self.tokens[0] if self.tokens else ""

    def _take(self, *expected: str) -> str:
        if self._next() not in expected:
            raise self.unexpected(" or ".join(expected))
        return self.tokens.pop(0)

    def unexpected(self, expected: str) -> FilterInvalid:
        return FilterInvalid(f"expected {expected}, found {self._next() or 'the end'}: {self.text}")
