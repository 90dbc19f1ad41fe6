"""What a stand-in does with a resource: refuses a configuration, plans it, and makes up what a cloud would answer."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from string import Formatter
from typing import Any, Final

from tests.infra.stand_in.messages import UNKNOWN, Step, Values
from tests.infra.stand_in.rules import Known, Rules
from tests.infra.stand_in.schema import Attribute, Block, Nesting, Type

A_TIME: Final = "2026-01-01T00:00:00Z"
Change = Callable[[str, Attribute, Any], Any]


def refusals(block: Block, values: Values, steps: tuple[Step, ...] = ()) -> Iterator[tuple[tuple[Step, ...], str]]:
    """Yield the path of each attribute with a value that the provider does not take, and its name and why."""
    for name, attribute in block.attributes.items():
        if why := _why_not(attribute, values.get(name)):
            yield (*steps, name), f"{name}: {why}"
    for name, nested in block.blocks.items():
        inside = values.get(name)
        for index, item in enumerate(inside if isinstance(inside, list) else [inside]):
            if isinstance(item, dict):
                # An element of a set has no index: its path ends at the set.
                step = (*steps, name, index) if nested.nesting is Nesting.LIST else (*steps, name)
                for found, why in refusals(nested.block, item, step):
                    yield (step, why) if nested.nesting is Nesting.SET else (found, why)


def unset(type_: str, values: Values, rules: Rules) -> str | None:
    """Return why the provider refuses what is set at the top together; None if it does not."""
    names = rules.one_of.get(type_, ())
    if not names or sum(values.get(name) is not None for name in names) == 1:
        return None
    return f"one of `{','.join(names)}` must be specified, and no more than one"


def empty(type_: str, values: Values, rules: Rules) -> bool:
    """Return whether the cloud would get an empty value of what is set alone."""
    names = rules.one_of.get(type_, ())
    return bool(names) and not any(values.get(name) for name in names)


def plan(type_: str, block: Block, proposed: Values, settings: Known, rules: Rules) -> Values:
    """Return the planned values: what is computed and not known yet is unknown, what is write-only is null."""
    values = dict(proposed)
    for name in rules.inherited:
        if name in block.attributes and values.get(name) is None and settings.get(name) is not None:
            values[name] = settings[name]
    values |= {
        name: value for name, value in rules.planned(type_, values, settings).items() if name in block.attributes
    }
    return _changed_block(block, values, _defer)


def replaced(type_: str, prior: Values, planned: Values, rules: Rules) -> list[str]:
    """Return the attributes whose change means another resource."""
    immutable = rules.immutable | rules.immutable_of.get(type_, frozenset())
    return sorted(name for name in immutable & planned.keys() if prior.get(name) != planned[name])


def apply(type_: str, block: Block, planned: Values, settings: Known, rules: Rules) -> Values:
    """Return the planned values with everything unknown made up; the same for the same plan."""
    known = _known(type_, planned, settings, rules)

    def made_up(name: str, attribute: Attribute, value: Any) -> Any:
        return _invent(f"{type_}.{name}", name, attribute.type, known, rules) if value == UNKNOWN else value

    return _changed_block(block, planned, made_up)


def _why_not(attribute: Attribute, value: Any) -> str | None:
    if value is None or value == UNKNOWN:
        return None
    if not attribute.is_settable:
        return "its value is computed by the provider, and cannot be set"
    given = value if isinstance(value, list) else [value]
    if attribute.values and (wrong := [v for v in given if isinstance(v, str) and v and v not in attribute.values]):
        return f"expected one of {list(attribute.values)}, got {wrong[0]}"
    return None


def _changed_block(block: Block, values: Values, change: Change) -> Values:
    """Return the values with `change(name, attribute, value)` for each attribute, in nested blocks, too."""
    attributes = {name: change(name, attribute, values.get(name)) for name, attribute in block.attributes.items()}
    return attributes | {n: _changed(nested.block, values.get(n), change) for n, nested in block.blocks.items()}


def _changed(block: Block, inside: Any, change: Change) -> Any:
    if isinstance(inside, list):
        return [_changed(block, item, change) for item in inside]
    return _changed_block(block, inside, change) if isinstance(inside, dict) else inside  # null, or not known yet


def _defer(_name: str, attribute: Attribute, value: Any) -> Any:
    if attribute.write_only:
        return None
    return UNKNOWN if value is None and attribute.computed else value


def _known(type_: str, planned: Values, settings: Known, rules: Rules) -> Mapping[str, str]:
    """Return the strings that templates may name."""
    given = {name: str(value) for name, value in planned.items() if isinstance(value, str | int)}
    digest = hashlib.sha256(repr([type_, planned]).encode()).hexdigest()
    inherited = {name: str(settings[name]) for name in rules.inherited if settings.get(name)}
    known = inherited | given | {"hash": digest[:10], "number": str(int(digest[:12], 16))}
    known.setdefault("name", given.get("bucket", digest[:10]))
    known["id"] = _filled(rules.ids.get(type_), known) or f"{type_}/{digest[:20]}"
    return known


def _filled(template: str | None, known: Mapping[str, str]) -> str | None:
    """Return the filled template; None if there is none, or something that it names is not known."""
    if template is None or any(name and name not in known for _, name, _, _ in Formatter().parse(template)):
        return None
    return template.format_map(known)


def _invent(path: str, name: str, type_: Type, known: Mapping[str, str], rules: Rules) -> Any:
    if type_ == "string":
        for template in (rules.invented.get(path), rules.invented.get(name)):
            if (value := _filled(template, known)) is not None:
                return value
        return A_TIME if name.endswith("_time") else known.get(name, known["hash"])
    if type_ == "bool":
        return False
    if type_ == "number":
        return int(known["number"]) % 100_000
    if isinstance(type_, list) and type_[0] == "object":
        return {inner: _invent(f"{path}.{inner}", inner, of, known, rules) for inner, of in type_[1].items()}
    if isinstance(type_, list) and isinstance(type_[1], list) and type_[1][0] == "object":
        return [_invent(path, name, type_[1], known, rules)]
    return {} if isinstance(type_, list) and type_[0] == "map" else []
