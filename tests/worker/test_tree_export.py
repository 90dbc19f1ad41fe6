"""The export of a tree: breadth first, each entity once, in one order, whatever fails on the way."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any, Final

import httpx
import pytest
from lxml import etree

from bench.synthetic_tree import ROOT, SyntheticTree
from emulators.mods import validate
from emulators.source import FOLDER
from shared.domain.order import Reason
from shared.domain.spec import CheimarrosMode, ExportOptions, ExportSpec
from shared.guest.config import Sources
from tests.worker.answers import Answers
from tests.worker.entities import EXPECTED, PIS, Record
from worker.arke import source
from worker.mods.frontier import Frontier, Position, TreeTooLarge
from worker.network import Client
from worker.programs import Job, ProgramFailed, Result, mods_export
from worker.programs.mods_export import MAX_UNANSWERED, export

ORDER: Final[list[str]] = EXPECTED["record_order_canonical"]

Answer = Callable[[httpx.Request], httpx.Response | None]
"""Answers in place of the sample source, or returns None."""


def sample(request: httpx.Request) -> httpx.Response:
    file = FOLDER / request.url.path[1:]
    return httpx.Response(200, content=file.read_bytes()) if file.is_file() else httpx.Response(404)


def run(folder: Path, pi: str = ORDER[0], answer: Answer = sample, **options: Any) -> Result:
    def serve(request: httpx.Request) -> httpx.Response:
        return answer(request) or sample(request)

    spec = ExportSpec(pi=pi, options=ExportOptions(recursive=True, **options))
    with Client(Answers(serve)) as http:
        return export(Job(spec, Sources(), http, folder))


def written(result: Result) -> list[str]:
    return [name.removeprefix("entity-") for name in Record.of(result).values("m:mods/@ID")]


@pytest.mark.parametrize(("depth", "name"), [(0, "maxDepth=0"), (1, "maxDepth=1"), (2, "maxDepth=2 or more")])
def test_a_tree_is_written_breadth_first_to_its_depth_and_counted(tmp_path: Path, depth: int, name: str) -> None:
    expected = EXPECTED["recursive_from_root"][name]

    result = run(tmp_path, max_depth=depth)

    assert validate(result.file) == []
    assert result.file.name == f"{ORDER[0]}-collection.xml"
    assert written(result) == ORDER[: expected["written"]]
    assert {
        count: result.metrics[f"entities_{count}"] for count in ("exported", "written", "failed", "incomplete")
    } == {
        "exported": expected["attempted"],
        **{count: expected[count] for count in ("written", "failed", "incomplete")},
    }


@pytest.mark.parametrize("mode", CheimarrosMode)
@pytest.mark.parametrize("ocr", [True, False])
def test_every_collection_is_valid_mods_3_8(tmp_path: Path, mode: CheimarrosMode, ocr: bool) -> None:
    assert validate(run(tmp_path, cheimarros_mode=mode, include_ocr=ocr).file) == []


def test_a_record_in_a_collection_is_the_example_of_the_crosswalk(tmp_path: Path) -> None:
    result = run(tmp_path)
    [record] = [each for each in etree.parse(str(result.file)).getroot() if each.get("ID") == f"entity-{ORDER[-1]}"]

    expected = etree.parse(str(Path(__file__).parent / "golden" / "map_cycle_in_a_collection.xml"))
    assert canonical(record) == canonical(expected.getroot())


def canonical(element: "etree._Element") -> str:
    """Return the element's meaning: without indentation, and with every namespace where it is used."""
    return str(etree.canonicalize(etree.tostring(element, encoding="unicode"), strip_text=True, rewrite_prefixes=True))


def test_the_number_of_entities_read_at_once_does_not_change_a_byte(tmp_path: Path) -> None:
    files = []
    for width in (1, 3, 100):
        (tmp_path / str(width)).mkdir()
        files.append(run(tmp_path / str(width), parallel_batch_size=width).file.read_bytes())

    assert files[0] == files[1] == files[2]


def test_records_are_in_the_children_s_order_although_they_arrive_in_another(tmp_path: Path) -> None:
    others_read = Event()

    def answer(request: httpx.Request) -> None:
        if request.url.path == f"/entities/{ORDER[1]}":
            assert others_read.wait(300)
        if request.url.path == f"/entities/{ORDER[4]}":
            others_read.set()

    assert written(run(tmp_path, answer=answer)) == ORDER


def test_a_cycle_is_walked_once_whichever_of_its_entities_is_the_root(tmp_path: Path) -> None:
    result = run(tmp_path, pi=PIS["map_cycle"])

    assert sorted(written(result)) == sorted(ORDER)
    assert written(result)[:2] == [PIS["map_cycle"], ORDER[0]]


def test_each_entity_is_read_once_and_each_component_once(tmp_path: Path) -> None:
    asked: list[str] = []

    run(tmp_path, answer=lambda request: asked.append(request.url.path))

    assert len(asked) == len(set(asked))


def test_without_the_graph_no_graph_is_read(tmp_path: Path) -> None:
    graph = json.loads((FOLDER / "entities" / PIS["oral"]).read_bytes())["components"]["cheimarros.json"]
    asked: list[str] = []

    run(tmp_path, answer=lambda request: asked.append(request.url.path), cheimarros_mode=CheimarrosMode.SKIP)

    assert f"/ipfs/{graph}" not in asked


def test_text_of_several_lines_keeps_its_white_space_in_a_collection(tmp_path: Path) -> None:
    texts = Record.of(run(tmp_path)).texts("//m:note[@type='ocr']")

    assert any(text.endswith("40 links.\n    (indented) Rain after noon.\n") for text in texts)


def test_a_position_names_depth_parent_and_path() -> None:
    root = Position("A")
    child = Position("C", Position("B", root, 1), 2)

    assert str(root) == "depth: 0, path: /A"
    assert str(child) == "depth: 2, parent: B, path: /A/B/C"


def test_a_root_that_cannot_be_read_fails_the_export(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match="Failed to fetch manifest: 404") as failure:
        run(tmp_path, pi=PIS["missing"])

    assert (failure.value.reason, failure.value.retryable) == (Reason.SOURCE_UNAVAILABLE, False)


def garbage(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=b"\xff\x00 no JSON")


def another(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=(FOLDER / "entities" / ORDER[0]).read_bytes())


def unending(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=itertools.repeat(bytes(1 << 16)))


def round_and_round(request: httpx.Request) -> httpx.Response:
    return httpx.Response(302, headers={"Location": str(request.url)})


def elsewhere(request: httpx.Request) -> httpx.Response:
    return httpx.Response(302, headers={"Location": "https://elsewhere.example/entities/x"})


def a_bomb(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"\x1f\x8b"))


@pytest.mark.parametrize("bad", [garbage, another, unending, round_and_round, elsewhere, a_bomb])
def test_an_entity_that_cannot_be_read_is_counted_and_the_export_goes_on(
    tmp_path: Path, bad: Callable[[httpx.Request], httpx.Response]
) -> None:
    def answer(request: httpx.Request) -> httpx.Response | None:
        return bad(request) if request.url.path == f"/entities/{PIS['maps']}" else None

    result = run(tmp_path, answer=answer)

    assert validate(result.file) == []
    assert written(result) == [pi for pi in ORDER if pi not in {PIS[key] for key in ("maps", "map_photo", "map_cycle")}]
    assert (result.metrics["entities_failed"], result.metrics["entities_exported"]) == (1, 10)


@pytest.mark.parametrize("bad", [garbage, unending, round_and_round, elsewhere, a_bomb])
def test_a_component_that_cannot_be_read_counts_as_missing(
    tmp_path: Path, bad: Callable[[httpx.Request], httpx.Response]
) -> None:
    result = run(tmp_path, answer=lambda request: bad(request) if request.url.path.startswith("/ipfs/") else None)

    assert validate(result.file) == []
    assert written(result) == ORDER
    assert result.metrics["entities_incomplete"] == len(ORDER)


def test_a_source_that_holds_back_one_answer_for_ever_costs_one_entity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mods_export, "GIVE_UP_SECONDS", 0.5)
    over = Event()

    def answer(request: httpx.Request) -> None:
        if request.url.path == f"/entities/{PIS['oral']}":
            over.wait()

    try:
        result = run(tmp_path, answer=answer, parallel_batch_size=1)
    finally:
        over.set()

    assert written(result) == [pi for pi in ORDER if pi != PIS["oral"]]


def test_of_unending_answers_only_one_at_a_time_is_read_beyond_a_megabyte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "LARGE_BYTES", 1000)
    chunks: list[str] = []

    def unending(name: str) -> Iterator[bytes]:
        yield bytes(1001)  # whoever is asked for more has its turn
        while True:
            chunks.append(name)
            yield bytes(1 << 16)

    def answer(request: httpx.Request) -> httpx.Response | None:
        path = request.url.path
        return httpx.Response(200, content=unending(path)) if path.startswith("/ipfs/") else None

    run(tmp_path, answer=answer)

    turns = [name for name, _ in itertools.groupby(chunks)]
    assert len(turns) == len(set(turns)) > 1


def wide(children: int) -> Answer:
    """A root with this number of children, of which only the first one exists."""
    pis = [f"{ROOT[:-6]}{number:06}" for number in range(children)]

    def answer(request: httpx.Request) -> httpx.Response:
        pi = request.url.path.rpartition("/")[2]
        if pi not in (ROOT, pis[0]):
            raise httpx.ConnectError("nothing there")
        listed = pis if pi == ROOT else []
        entity = {"pi": pi, "ts": "2025", "manifest_cid": "c", "components": {}, "children_pi": listed}
        return httpx.Response(200, json=entity)

    return answer


@pytest.mark.usefixtures("no_waiting")
def test_a_source_that_is_gone_ends_the_export_which_may_be_tried_again(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match=f"nothing about {MAX_UNANSWERED} entities in a row") as failure:
        run(tmp_path, ROOT, wide(1 + MAX_UNANSWERED))

    assert (failure.value.reason, failure.value.retryable) == (Reason.SOURCE_UNAVAILABLE, True)


@pytest.mark.usefixtures("no_waiting")
def test_a_few_unanswered_entities_do_not_end_the_export(tmp_path: Path) -> None:
    result = run(tmp_path, ROOT, wide(MAX_UNANSWERED))

    assert result.metrics["entities_failed"] == MAX_UNANSWERED - 1


@pytest.mark.usefixtures("no_waiting")
def test_a_gateway_that_is_gone_ends_the_export_too(tmp_path: Path) -> None:
    tree = SyntheticTree(2 * MAX_UNANSWERED)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/ipfs/"):
            raise httpx.ConnectError("nothing there")
        return tree.answer(request)

    with pytest.raises(ProgramFailed, match="in a row"):
        run(tmp_path, ROOT, answer)


def test_a_tree_of_too_many_entities_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mods_export, "Frontier", lambda root, depth: Frontier(root, depth, max_entities=12))

    with pytest.raises(ProgramFailed, match="more than 12 entities: set a smaller max_depth") as failure:
        run(tmp_path)

    assert (failure.value.reason, failure.value.retryable) == (Reason.PROGRAM_FAILED, False)


def test_a_file_that_does_not_fit_is_explained(tmp_path: Path) -> None:
    (tmp_path / f"{ORDER[0]}-collection.xml").symlink_to("/dev/full")

    with pytest.raises(ProgramFailed, match="No space left on device") as failure:
        run(tmp_path)

    assert (failure.value.reason, failure.value.retryable) == (Reason.DISK_FULL, False)


def test_children_that_are_too_deep_do_not_count() -> None:
    frontier = Frontier("root", max_depth=1, max_entities=3)
    frontier.add(["a", "b", "a", "root"], Position("root"))
    frontier.add(["c", "d"], Position("a", Position("root"), 1))

    assert frontier.found == 3
    with pytest.raises(TreeTooLarge):
        frontier.add(["e"], Position("root"))


def test_an_identifier_that_is_too_long_is_not_kept_whole() -> None:
    frontier = Frontier("root", max_depth=1)
    frontier.add(["x" * 1_000_000], frontier.next() or Position("root"))
    position = frontier.next()

    assert position is not None
    assert len(position.pi) < 200


def test_an_identifier_of_any_length_is_one_failed_entity(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response | None:
        if request.url.path != f"/entities/{PIS['oral']}":
            return None
        entity = json.loads((FOLDER / "entities" / PIS["oral"]).read_bytes())
        entity["children_pi"] = ["x" * 1_000_000, "../maps", "", "a b"]
        return httpx.Response(200, json=entity)

    result = run(tmp_path, answer=answer)

    assert validate(result.file) == []
    assert (result.metrics["entities_failed"], result.metrics["entities_written"]) == (4, 12)


def test_progress_counts_up_to_all_entities(tmp_path: Path) -> None:
    heard: list[dict[str, int]] = []
    spec = ExportSpec(pi=ORDER[0], options=ExportOptions(recursive=True))
    with Client(Answers(sample)) as http:
        export(Job(spec, Sources(), http, tmp_path, lambda counts: heard.append(dict(counts))))

    assert heard[0] == {"entities_done": 1, "entities_failed": 0, "entities_found": 5}
    assert heard[-1] == {"entities_done": 12, "entities_failed": 1, "entities_found": 13}
    assert len(heard) == 13
