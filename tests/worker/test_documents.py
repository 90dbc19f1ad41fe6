"""Reading what the source serves: tolerant of everything but a missing identity."""

import json
from pathlib import Path
from typing import Any

import pytest

from emulators.mods import validate
from shared.domain.spec import ExportOptions
from shared.guest.config import Sources
from worker.arke import documents
from worker.arke.documents import UnreadableDocument
from worker.mods.document import writing
from worker.mods.holdings import Holdings
from worker.mods.languages import iso639_2b
from worker.mods.record import record

ENTITY: dict[str, Any] = {
    "pi": "01K9MHPYR07M6YMZ1QGR8DZB8S",
    "ver": 1,
    "ts": "2025-11-10T09:15:22.104Z",
    "manifest_cid": "bafkreifiuyshp7kiyg3cd2khku3pd3p7jffksuksusqk3pbpwxp5vknm4y",
    "components": {},
}
ODD_PINAX = {
    "id": None,
    "title": "A title with a lone \ud800 surrogate",
    "creator": ["", 7, None, {"name": "nobody"}],
    "created": "",
    "institution": ["a", "list"],
    "language": "tlh-x-none",
    "subjects": "one",
    "place": [],
    "rights": "  ",
}


@pytest.mark.parametrize("name", ["pi", "ts", "manifest_cid", "components"])
def test_an_entity_without_its_identity_is_unreadable(name: str) -> None:
    document = {key: value for key, value in ENTITY.items() if key != name}

    with pytest.raises(UnreadableDocument):
        documents.entity(json.dumps(document).encode())


@pytest.mark.parametrize("document", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_document_that_is_not_a_json_object_is_unreadable(document: bytes) -> None:
    with pytest.raises(UnreadableDocument):
        documents.pinax(document)


def test_a_record_of_odd_metadata_is_valid_and_has_no_empty_element(tmp_path: Path) -> None:
    entity = documents.entity(json.dumps(ENTITY).encode())
    pinax = documents.pinax(json.dumps(ODD_PINAX).encode())
    file = tmp_path / "odd.xml"

    with writing(file, collection=False) as records:
        records.add(entity.pi, record(Holdings(entity, pinax), ExportOptions(), Sources()))

    written = file.read_text()
    assert validate(file) == []
    assert records.replaced == 1
    assert "A title with a lone \ufffd surrogate" in written
    assert "<namePart>7</namePart>" in written
    assert "/>" not in written
    assert "originInfo" not in written
    assert "accessCondition" not in written


def test_a_graph_s_odd_members_are_left_out() -> None:
    graph = documents.graph(
        json.dumps(
            {
                "entities": {
                    "a": {"type": "person", "label": "A", "properties": "none"},
                    "b": {"type": "person"},
                    "c": 1,
                },
                "relations": [{"source": "a", "target": "b"}, "none", {"source": "a", "target": "a", "type": "is"}],
            }
        ).encode()
    )

    assert list(graph.nodes) == ["a"]
    assert [relation.type for relation in graph.relations] == ["is"]


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("en", "eng"),
        ("en-US", "eng"),
        ("es-MX", "spa"),
        ("fr", "fre"),
        ("de-CH-1901", "ger"),
        ("pt-BR", "por"),
        ("zh-Hant", "chi"),
        ("nl", "dut"),
        ("GRC", "grc"),
        ("pt_BR", "por"),
        ("xx", None),
        ("English", None),
        ("deu", "ger"),
    ],
)
def test_a_language_tag_maps_by_its_primary_subtag(tag: str, code: str | None) -> None:
    assert iso639_2b(tag) == code
