"""The MODS export of the sample entities: valid, complete, exact to the character, and the same each time."""

import json
from pathlib import Path

import pytest

from emulators.mods import validate
from emulators.source import FOLDER
from shared.domain.order import Reason
from shared.domain.spec import CheimarrosMode
from tests.worker.entities import EXPECTED, PIS, PRESENT, UNDESCRIBED, Exporter, Record
from worker.network import Client
from worker.programs import ProgramFailed

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def exporter(http: Client, arke: str, tmp_path: Path) -> Exporter:
    return Exporter(http, arke, tmp_path)


@pytest.mark.parametrize("key", PRESENT)
@pytest.mark.parametrize("mode", CheimarrosMode)
def test_every_record_is_valid_mods_3_8(exporter: Exporter, key: str, mode: CheimarrosMode) -> None:
    result = exporter.export(key, cheimarros=mode)

    assert validate(result.file) == []
    assert result.file.name == f"{PIS[key]}.xml"


@pytest.mark.parametrize("key", ["map_cycle", "nb_ocr"])
def test_a_record_matches_the_crosswalk_to_the_byte(exporter: Exporter, key: str) -> None:
    assert exporter.published(key).read_bytes() == (GOLDEN / f"{key}.xml").read_bytes()


def test_the_same_entity_gives_the_same_bytes(exporter: Exporter) -> None:
    first = exporter.export("oral").file.read_bytes()

    assert exporter.export("oral").file.read_bytes() == first


@pytest.mark.parametrize("key", PRESENT)
def test_an_entity_counts_as_incomplete_exactly_when_its_pinax_cannot_be_read(exporter: Exporter, key: str) -> None:
    result = exporter.export(key)

    assert result.metrics["entities_incomplete"] == (key in UNDESCRIBED)
    assert (result.metrics["entities_exported"], result.metrics["entities_written"]) == (1, 1)


@pytest.mark.parametrize("mode", CheimarrosMode)
def test_the_mode_decides_how_much_of_the_graph_is_in_the_record(exporter: Exporter, mode: CheimarrosMode) -> None:
    record = Record.of(exporter.export("oral", cheimarros=mode))

    assert {
        "subjects_total": record.count("m:subject"),
        "property_notes": record.count("m:note[@type='cheimarros-property']"),
        "relation_notes": record.count("m:note[@type='cheimarros-relation']"),
    } == EXPECTED["cheimarros_oral"][mode]


def test_a_graph_shows_labels_for_references_and_codes_for_dangling_ones(exporter: Exporter) -> None:
    notes = Record.of(exporter.export("oral")).texts("m:note[starts-with(@type, 'cheimarros')]")

    assert "Wen Aldous • employer: Ostrel Valley Survey Office" in notes
    assert "Idris Quell • worked_for: no_such_code" in notes
    assert "Idris Quell → lived_at → Kettle Ford" in notes
    assert not [note for note in notes if "71" in note or "Worked three seasons" in note or "knows" in note]


@pytest.mark.parametrize("ocr", [True, False])
@pytest.mark.parametrize("key", EXPECTED["ocr_notes"])
def test_ocr_text_is_included_only_if_the_order_asks_for_it(exporter: Exporter, key: str, ocr: bool) -> None:
    record = Record.of(exporter.export(key, ocr=ocr))

    assert (
        record.count("m:relatedItem/m:note[@type='ocr']") == EXPECTED["ocr_notes"][key][f"includeOcr={json.dumps(ocr)}"]
    )


def test_ocr_text_keeps_its_white_space(exporter: Exporter) -> None:
    first, _ = Record.of(exporter.export("nb_ocr")).texts("//m:note[@type='ocr']")

    assert first.endswith("40 links.\n    (indented) Rain after noon.\n")


def test_names_are_escaped_in_attributes_too(exporter: Exporter) -> None:
    record = Record.of(exporter.export("nb_ocr"))

    assert 'plates A&B <draft> "x".jpg' in record.values("m:relatedItem/@displayLabel")


def test_text_in_any_script_comes_out_as_it_went_in(exporter: Exporter) -> None:
    entity = json.loads((FOLDER / "entities" / PIS["nb_rtl"]).read_text())
    pinax = json.loads((FOLDER / "ipfs" / entity["components"]["pinax.json"]).read_text())

    record = Record.of(exporter.export("nb_rtl"))

    assert record.texts("m:titleInfo/m:title") == [pinax["title"]]
    assert record.texts("m:name[@type='personal']/m:namePart") == pinax["creator"]
    assert record.texts("m:subject/m:topic") == pinax["subjects"]
    assert record.texts("m:abstract") == [pinax["description"]]


def test_an_entity_in_the_source_text_stays_text(exporter: Exporter) -> None:
    written = exporter.export("nb_rtl").file.read_text()

    assert "A literal &amp;amp; in the text" in written
    assert "entities like &amp;lt; must survive" in written


def test_characters_that_xml_cannot_carry_are_replaced_and_counted(exporter: Exporter) -> None:
    result = exporter.export("let_ctrl")

    assert Record.of(result).texts("//m:note[@type='ocr']") == ["Page one\ufffdPage two \ufffd end \ufffd."]
    assert result.metrics["characters_replaced"] == 3


@pytest.mark.parametrize("key", sorted(UNDESCRIBED))
def test_an_undescribed_entity_gets_a_minimal_record_with_a_note(exporter: Exporter, key: str) -> None:
    record = Record.of(exporter.export(key))

    assert record.texts("m:titleInfo[@type='alternative']/m:title") == [f"[Incomplete Record: {PIS[key]}]"]
    assert record.count("m:note[@type='metadata-status']") == record.count("m:note[@type='metadata-remediation']") == 1
    assert record.values("m:identifier/@type") == ["arke-pi", "arke-manifest-cid"]
    assert record.texts("m:location/m:url[@usage='primary']") == [f"{exporter.arke}/entities/{PIS[key]}"]
    assert record.texts("m:recordInfo/m:descriptionStandard") == ["mods"]


def test_a_minimal_record_keeps_the_description_and_the_links(exporter: Exporter) -> None:
    record = Record.of(exporter.export("letters"))

    assert record.texts("m:abstract") == ["Loose letters, not yet described.\n"]
    assert record.values("m:relatedItem/@displayLabel") == [
        "Parent Entity",
        "Child Entity 1",
        "Child Entity 2",
        "box-label.txt",
    ]


def test_a_description_that_differs_from_the_abstract_becomes_a_note(exporter: Exporter) -> None:
    summary = "m:note[@type='summary']"

    assert Record.of(exporter.export("root")).texts(summary) == [
        "Notebooks, letters, maps and interviews from the survey of the Ostrel valley."
    ]
    assert Record.of(exporter.export("nb_ocr")).count(summary) == 0


def test_a_reference_that_cannot_be_read_is_linked_as_a_plain_component(exporter: Exporter) -> None:
    record = Record.of(exporter.export("map_photo"))

    assert record.values("m:relatedItem[@type='constituent']/@displayLabel") == [
        "photo-front.tif",
        "photo-back.tif.ref.json",
    ]


@pytest.mark.parametrize(("key", "code"), [("nb_data", ["por"]), ("maps", ["fre"]), ("map_photo", [])])
def test_a_language_is_a_code_of_iso_639_2_or_left_out(exporter: Exporter, key: str, code: list[str]) -> None:
    assert Record.of(exporter.export(key)).texts("m:language/m:languageTerm") == code


def test_a_placeholder_address_becomes_the_entitys_page(exporter: Exporter) -> None:
    record = Record.of(exporter.export("nb_data"))

    assert record.texts("m:location/m:url[@usage='primary']") == [f"https://arke.institute/{PIS['nb_data']}"]
    assert record.texts("m:identifier[@type='local']") == ["6f1c2a54-9d3b-4e0f-8a77-2b9c5d1e4f60"]
    assert record.count("m:accessCondition") == 0


def test_internal_components_are_listed_and_not_linked(exporter: Exporter) -> None:
    record = Record.of(exporter.export("root"))

    assert not [label for label in record.values("m:relatedItem/@displayLabel") if label.endswith((".txt", ".md"))]
    assert "reorganization-description.txt" in record.texts("m:note[@type='component-inventory']")[0]


def test_a_missing_entity_fails_the_export_permanently(exporter: Exporter) -> None:
    with pytest.raises(ProgramFailed) as failure:
        exporter.export("missing")

    assert failure.value.reason is Reason.SOURCE_UNAVAILABLE
    assert failure.value.message == "Failed to fetch manifest: 404 Not Found"
    assert not failure.value.retryable


@pytest.mark.usefixtures("no_waiting")
def test_a_source_that_does_not_answer_may_be_tried_again(exporter: Exporter) -> None:
    with pytest.raises(ProgramFailed) as failure:
        exporter.export("root", at="http://127.0.0.1:9")

    assert failure.value.message.startswith("Failed to fetch manifest: nothing listens there")
    assert failure.value.retryable
