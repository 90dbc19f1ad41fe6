"""Whatever an entity holds, its record is valid MODS 3.8, and so is the collection that it is in."""

import json
import tempfile
from pathlib import Path
from typing import Any, Final

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.mods import validate
from shared.domain.spec import CheimarrosMode, ExportOptions, ExportSpec
from shared.guest.config import Sources
from tests.worker.answers import Answers
from worker.network import Client
from worker.programs import Job
from worker.programs.mods_export import export

ROOT: Final = "01K9MHPYR07M6YMZ1QGR8DZB8S"
CHILD: Final = "01K9MHRTA8ACY6ABNWTJ7NR5V8"

ANY_TEXT: Final = st.text(st.characters(codec=None), max_size=12)
"""With control characters and lone surrogates."""
ADDRESSES: Final = st.sampled_from(
    ["PLACEHOLDER", "https://a.example/x?y=z#w", "http://[", "https://a b/", "a:b:c", "%zz", "//", "\u2603"]
)
ANY_VALUE: Final = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), ANY_TEXT, st.lists(ANY_TEXT))


def some(**members: "st.SearchStrategy[Any]") -> "st.SearchStrategy[dict[str, Any]]":
    """Objects with any of these members, each of them as it should be or of another type."""
    return st.fixed_dictionaries({}, optional={name: each | ANY_VALUE for name, each in members.items()})


TEXTS: Final = st.lists(ANY_TEXT, max_size=3)
PINAX: Final = some(
    id=ANY_TEXT,
    title=ANY_TEXT,
    type=st.sampled_from(["Text", "Image", "Event", "Nonsense"]),
    creator=TEXTS,
    institution=ANY_TEXT,
    created=ANY_TEXT,
    access_url=ADDRESSES,
    language=st.sampled_from(["en", "pt-BR", "xx", "French"]),
    subjects=TEXTS,
    description=ANY_TEXT,
    source=ANY_TEXT,
    rights=ANY_TEXT,
    place=TEXTS,
)
REFERENCE: Final = some(
    url=ADDRESSES, ipfs_cid=ANY_TEXT, type=ANY_TEXT, size=st.integers(), filename=ANY_TEXT, ocr=ANY_TEXT
)
NODE: Final = some(
    type=st.sampled_from(["person", "organization", "place", "date", "concept", "document", "other"]),
    label=ANY_TEXT,
    properties=st.dictionaries(ANY_TEXT, ANY_TEXT | st.just({"type": "entity_ref", "code": "a"}), max_size=2),
)
RELATION: Final = some(source=st.just("a"), target=st.just("b"), type=ANY_TEXT)
GRAPH: Final = some(
    entities=st.fixed_dictionaries({"a": NODE, "b": NODE}, optional={"c": NODE}),
    relations=st.lists(RELATION, max_size=2),
)
DOCUMENTS: Final = st.fixed_dictionaries(
    {}, optional={"pinax.json": PINAX, "cheimarros.json": GRAPH, "a.ref.json": REFERENCE, "b.ref.json": ANY_VALUE}
)
ENTITY: Final = st.fixed_dictionaries(
    {"manifest_cid": ADDRESSES | st.just("bafkrei"), "ts": st.just("2025-11-10T09:51:00.000Z")},
    optional={
        "ver": ANY_VALUE,
        "parent_pi": ADDRESSES | ANY_TEXT,
        "children_pi": st.lists(st.sampled_from([ROOT, CHILD]) | ANY_TEXT, max_size=3),
        "components": st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=2),
    },
)


@given(ENTITY, DOCUMENTS, st.booleans(), st.sampled_from(CheimarrosMode))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_entity_s_record_is_valid(
    entity: dict[str, Any], parts: dict[str, Any], recursive: bool, mode: CheimarrosMode
) -> None:
    cids = {name: f"cid{number}" for number, name in enumerate(parts)}
    components = {**entity.get("components", {}), **cids}

    def answer(request: httpx.Request) -> httpx.Response:
        route, name = request.url.path[1:].split("/", 1)
        if route == "entities":
            body = json.dumps({**entity, "pi": name, "components": components})
            return httpx.Response(200, content=body.encode())
        found = [part for part, cid in cids.items() if cid == name]
        return httpx.Response(200, content=json.dumps(parts[found[0]]).encode()) if found else httpx.Response(404)

    options = ExportOptions(recursive=recursive, cheimarros_mode=mode, parallel_batch_size=1)
    with tempfile.TemporaryDirectory() as folder, Client(Answers(answer)) as http:
        result = export(Job(ExportSpec(pi=ROOT, options=options), Sources(), http, Path(folder)))

        assert validate(result.file) == []
