"""Reads a provider's schema out of its prebuilt bindings for Python (the wheels cdktf-cdktf-provider-*).

The wheel holds a .jsii.tgz, and that one JavaScript file for each type, which ends in a source map with its TypeScript.
There, each attribute has a line `// name - computed: x, optional: y, required: z` in the class of its block. Each
settable one also has a descriptor (`isBlock`, `type`, `storageClassType`), and each interface documents its members.

Compared with what the real aws provider 5.100.0 says of its 2,134 types: 8 cannot be read. In the others, all flags are
the same, 20 blocks and attributes are mistaken for each other, and 10 attributes have another type. The bindings do not
say which attributes are sensitive or write-only, what cannot be changed, what the defaults are, nor any limit on the
number of blocks but none, one and many.
"""

import base64
import json
import re
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.infra.stand_in.schema import Attribute, Block, NestedBlock, Nesting, Schema, Type

MODULE: Final = re.compile(r"package/lib/[^/]+/index\.js")
CLASS: Final = re.compile(r"export class (\w+) extends cdktf\.Terraform(Provider|Resource|DataSource) ")
TYPE_NAME: Final = re.compile(r'tfResourceType = "(\w+)"')
DECLARATION: Final = re.compile(r"^export (?:class|interface|function) (\w+)", re.MULTILINE)
FLAGS: Final = re.compile(r"^  // (\w+) - computed: (\w+), optional: (\w+), required: (\w+)$", re.MULTILINE)
DESCRIPTOR: Final = re.compile(
    r"(?P<name>\w+): \{\s+value: (?P<value>.*),\s+isBlock: (?P<block>\w+),"
    r'\s+type: "(?P<type>\w+)",\s+storageClassType: "(?P<storage>\w+)"'
)
MEMBER: Final = re.compile(
    r"/\*\*(?P<doc>(?:(?!\*/).)*)Docs at Terraform Registry: \{@link \S+ \w+#(?P<name>\w+)\}(?:(?!\*/).)*\*/"
    r"\s+readonly \w+(?P<optional>\??):",
    re.DOTALL,
)
ENUMERATED: Final = re.compile(r"Possible values: (\[[^]]*\])")
NESTED: Final = re.compile(r'new (\w+?)(?:List|OutputReference)\(this, "\w+"(?:, (true|false))?\)')
GETTER: Final = re.compile(r"(?:get|cdktf\.)(String|Number|Boolean|Any)?(List|Map)?(List)?(?:Attribute)?\(")
STORAGE: Final = re.compile(r"(string|number|boolean|any)(List|Map)?(List)?")
PRIMITIVES: Final = {"string": "string", "number": "number", "boolean": "bool", "any": "dynamic"}
NESTINGS: Final = {"struct": Nesting.SINGLE, "list": Nesting.LIST, "set": Nesting.SET}
SENSITIVE: Final = frozenset(
    {"access_key", "access_token", "content", "password", "private_key", "secret_data", "secret_key", "token"}
)
"""Names of sensitive attributes: the bindings do not say which are."""


class _Unreadable(Exception):
    """A type of resource is written in another way than all others."""


@dataclass(frozen=True, slots=True)
class _Member:
    """An attribute or a block, and the text that follows its flags."""

    name: str
    computed: bool
    optional: bool
    required: bool
    text: str


class _Parts(dict[str, str]):
    """The text of each class, interface and function by its name; no two of a file have one name."""

    def __missing__(self, name: str) -> str:
        raise _Unreadable(f"there is no {name}")


def read_schema(wheel: Path) -> Schema:
    """Return the schema of the whole provider, in some seconds.

    Types with parts that this module cannot read are left out: Terraform then refuses them, as unknown.
    """
    found: dict[str, dict[str, Block]] = {"Provider": {}, "Resource": {}, "DataSource": {}}
    for text in _sources(wheel):
        if (root := CLASS.search(text)) and (name := TYPE_NAME.search(text)):
            try:
                found[root[2]][name[1]] = _root_block(root[1], _parts(text))
            except _Unreadable:
                continue
    return Schema(found["Provider"], found["Resource"], found["DataSource"])


def _sources(wheel: Path) -> Iterator[str]:
    """Yield the TypeScript of each type."""
    with zipfile.ZipFile(wheel) as files:
        bundle = next(name for name in files.namelist() if name.endswith(".jsii.tgz"))
        with files.open(bundle) as packed, tarfile.open(fileobj=packed, mode="r|gz") as members:
            for member in members:
                if MODULE.fullmatch(member.name) and (file := members.extractfile(member)):
                    source_map = json.loads(base64.b64decode(file.read().rsplit(b"base64,", 1)[1]))
                    yield source_map["sourcesContent"][0]


def _parts(text: str) -> _Parts:
    _, *pieces = DECLARATION.split(text)
    return _Parts(zip(pieces[::2], pieces[1::2], strict=True))


def _root_block(name: str, parts: _Parts) -> Block:
    return _read_block(parts[name], parts[name], parts[f"{name}Config"], parts)


def _nested_block(name: str, parts: _Parts) -> Block:
    descriptors = parts.get(f"{name[0].lower()}{name[1:]}ToHclTerraform", "")
    class_text = parts.get(f"{name}OutputReference")
    return _read_block(class_text, descriptors, parts.get(name, "") if class_text else parts[name], parts)


def _read_block(class_text: str | None, descriptors: str, interface: str, parts: _Parts) -> Block:
    described = {found["name"]: found for found in DESCRIPTOR.finditer(descriptors)}
    values = {m["name"]: json.loads(v[1]) for m in MEMBER.finditer(interface) if (v := ENUMERATED.search(m["doc"]))}
    attributes: dict[str, Attribute] = {}
    blocks: dict[str, NestedBlock] = {}
    members = _members_of_interface(interface) if class_text is None else _members_of_class(class_text)
    for member in members:
        name, descriptor = member.name, described.get(member.name)
        if descriptor and descriptor["block"] == "true" and not member.computed:
            blocks[name] = _read_nesting(descriptor, member.required, parts)
        else:
            write_only = name.endswith("_wo") and (member.optional or member.required)
            attributes[name] = Attribute(
                type=_read_type(member.text, descriptor, parts),
                required=member.required,
                optional=member.optional,
                computed=member.computed,
                sensitive=write_only or name in SENSITIVE,
                write_only=write_only,
                values=tuple(values.get(name, ())),
            )
    return Block(attributes, blocks)


def _members_of_class(text: str) -> Iterator[_Member]:
    _, *pieces = FLAGS.split(text)
    for name, *flags, body in (pieces[i : i + 5] for i in range(0, len(pieces), 5)):
        computed, optional, required = (flag == "true" for flag in flags)
        yield _Member(name, computed, optional, required, body)


def _members_of_interface(text: str) -> Iterator[_Member]:
    """A block of a provider's own settings has no class, because nothing refers to it."""
    for found in MEMBER.finditer(text):
        yield _Member(found["name"], False, bool(found["optional"]), not found["optional"], "")


def _read_nesting(descriptor: re.Match[str], required: bool, parts: _Parts) -> NestedBlock:
    if (nesting := NESTINGS.get(descriptor["type"])) is None:
        raise _Unreadable(f"a block that is a {descriptor['type']}")
    many = nesting is Nesting.SINGLE or "listMapper" in descriptor["value"]
    name = descriptor["storage"] if nesting is Nesting.SINGLE else descriptor["storage"].removesuffix("List")
    return NestedBlock(nesting, int(required), 0 if many else 1, _nested_block(name, parts))


def _read_type(body: str, descriptor: re.Match[str] | None, parts: _Parts) -> Type:
    """Return the type of an attribute, from its descriptor or, if it cannot be set, from its part of the class."""
    if nested := NESTED.search(body):
        return ["set" if nested[2] == "true" else "list", _object_type(_nested_block(nested[1], parts))]
    found = STORAGE.fullmatch(descriptor["storage"]) if descriptor else GETTER.search(body)
    if found is None:
        raise _Unreadable(f"no type can be read from {body.strip()[:200]}")
    primitive = PRIMITIVES[(found[1] or "string").lower()]
    collection = "set" if "Fn.tolist" in body else "list"
    if descriptor and descriptor["type"] in NESTINGS:
        collection = descriptor["type"]
    inner: Type = ["map", primitive] if found[2] == "Map" else primitive
    return [collection, inner] if "List" in (found[2], found[3]) else inner


def _object_type(block: Block) -> Type:
    types = {name: attribute.type for name, attribute in block.attributes.items()}
    return ["object", types | {name: ["list", _object_type(nested.block)] for name, nested in block.blocks.items()}]
