"""An export's memory does not grow with its tree. Each export is a process of its own, so that its peak is its own."""

import json
import subprocess
import sys
from typing import Final

import pytest

from worker.guest.root import PROJECT

ALLOWED: Final = 1.25
"""Of the small tree's peak, which is mostly Python and its libraries. Kept records would need 12 times as much."""

PEAK: Final = """
import json, sys, tempfile
from pathlib import Path
from bench.export import from_source
from bench.synthetic_tree import SyntheticTree
from worker import memory

size, children = map(int, sys.argv[1:])
with tempfile.TemporaryDirectory() as folder:
    from_source(SyntheticTree(size, children), Path(folder))
print(json.dumps(memory.peak_mib()))
"""


def peak(entities: int, children: int) -> int:
    """Return the MiB that the export of a tree of so many entities takes, each with so many children."""
    argv = [sys.executable, "-c", PEAK, str(entities), str(children)]
    return int(json.loads(subprocess.run(argv, capture_output=True, text=True, check=True, cwd=PROJECT).stdout))


@pytest.mark.slow
@pytest.mark.parametrize("children", [20, 4999], ids=["deep", "wide"])
def test_a_tree_of_5000_entities_takes_as_much_memory_as_one_of_200(children: int) -> None:
    assert peak(5000, children) <= ALLOWED * peak(200, children)
