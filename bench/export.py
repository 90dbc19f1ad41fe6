"""Measures exports of a synthetic tree: `python -m bench.export` prints entities a second, and peaks of memory.

The source answers at once: it is a function in the export's own process, called by httpx in place of the network. So
the figures are those of our code and of httpx's, without sockets; with a real source, its answers decide. Nothing
waits, so a second is one of processor time: other load on the machine distorts it less.

The floor has no source: it parses the same documents, and has lxml write the same records. Every run is a process of
its own, so that its peak is its own; the peak includes Python and the imports.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.synthetic_tree import PAGE, ROOT, SyntheticTree
from shared.domain.spec import ExportOptions, ExportSpec
from shared.guest.config import Sources
from worker import memory
from worker.arke import documents
from worker.arke.documents import Entity
from worker.mods.document import writing
from worker.mods.frontier import Frontier
from worker.mods.holdings import DESCRIPTION, PINAX, Holdings
from worker.mods.record import record
from worker.programs import Job
from worker.programs.mods_export import export

SIZES: Final = (200, 20_000)
ROUNDS: Final = 3
"""Each figure is the best of this number of runs, because other load on the machine can only slow a run."""
OPTIONS: Final = ExportOptions(recursive=True)


def main() -> None:
    table = Table("entities", "way", "entities/s", "of the floor", "peak MiB", "bytes", title="Exports of a tree")
    for size in SIZES:
        rounds = [{way: measure(way, size) for way in WAYS} for _ in range(ROUNDS)]
        best = {way: max((one[way] for one in rounds), key=lambda run: run["rate"]) for way in WAYS}
        for way, run in best.items():
            of_floor = run["rate"] / best["floor"]["rate"]
            table.add_row(str(size), way, f"{run['rate']:.0f}", f"{of_floor:.2f}", f"{run['peak']}", f"{run['bytes']}")
        table.add_section()
    Console().print(table)


def measure(way: str, size: int) -> dict[str, Any]:
    """Run one way in a process of its own. `rate` is in entities a second of processor time, `peak` in MiB."""
    argv = [sys.executable, "-m", "bench.export", way, str(size)]
    return dict(json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout))


def run(way: str, size: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        file = WAYS[way](SyntheticTree(size), Path(folder))
        seconds = time.process_time() - began
        return {"rate": size / seconds, "peak": memory.peak_mib(), "bytes": file.stat().st_size}


def from_source(tree: SyntheticTree, folder: Path) -> Path:
    with tree.client() as http:
        return export(Job(ExportSpec(pi=ROOT, options=OPTIONS), Sources(), http, folder)).file


def from_memory(tree: SyntheticTree, folder: Path) -> Path:
    frontier, file = Frontier(ROOT, OPTIONS.max_depth), folder / "floor.xml"
    with writing(file, collection=True) as records:
        while position := frontier.next():
            entity = documents.entity(tree.entity(position.pi))
            frontier.add(entity.children, position)
            records.add(position.pi, record(holdings(tree, entity), OPTIONS, Sources(), str(position)))
    return file


def holdings(tree: SyntheticTree, entity: Entity) -> Holdings:
    components = {name: tree.component(cid) for name, cid in entity.components.items()}
    description, page = components.get(DESCRIPTION), components.get(PAGE)
    return Holdings(
        entity,
        documents.pinax(components[PINAX]),
        documents.text(description) if description else None,
        references={PAGE: documents.reference(page)} if page else {},
    )


WAYS: Final = {"floor": from_memory, "export": from_source}


if __name__ == "__main__":
    if arguments := sys.argv[1:]:
        print(json.dumps(run(arguments[0], int(arguments[1]))))
    else:
        main()
