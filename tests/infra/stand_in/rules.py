"""What a provider's schema does not say, written by hand for the types that the deployment uses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Known = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rules:
    """How one provider's resources behave. Templates are filled with what is known of the resource."""

    ids: Mapping[str, str]
    """A template for a type's ids. Two resources of such a type with one id are refused, as by the cloud."""
    immutable: frozenset[str]
    """Attributes of any type, at the top, whose change replaces the resource."""
    immutable_of: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The same, of one type."""
    one_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Attributes of a type, of which exactly one is set in each plan. An empty text counts as set, and nothing is made
    with it.
    """
    inherited: tuple[str, ...] = ()
    """Settings of the provider that a resource has if it does not say otherwise."""
    needed: tuple[str, ...] = ()
    """Those of them without which there is no resource."""
    planned: Callable[[str, Known, Known], Known] = lambda _type, _known, _settings: {}
    """Computed values that are known when it plans: from a type, its resource's values and the provider's settings."""
    invented: Mapping[str, str] = field(default_factory=dict)
    """Templates for computed attributes, by name; `TYPE.name` takes precedence."""
