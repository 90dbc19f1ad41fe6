"""`.ci/run`: what continuous integration is told of the parts that it ran."""

import os
import subprocess
from pathlib import Path
from typing import Final

import pytest

RUN: Final = Path(__file__).parents[2] / ".ci" / "run"
PARTS: Final = ("lint", "test", "test-slow")
MAKE: Final = """#!/bin/sh
echo "$1" >>"{ran}"
[ "$1" = lint ] || echo "left out: 7 tests, for a reason of $1"
echo "===== 3 passed, 2 deselected in 1.00s ====="
echo "make: a last line that says nothing"
[ "$1" != "{broken}" ]
"""


@pytest.mark.parametrize("broken", ["none", *PARTS])
def test_every_part_is_run_and_summed_up_and_one_that_fails_fails_the_whole(tmp_path: Path, broken: str) -> None:
    ran = tmp_path / "ran"
    make = tmp_path / "make"
    make.write_text(MAKE.format(ran=ran, broken=broken))
    make.chmod(0o755)

    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run([RUN], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)

    assert ran.read_text().split() == list(PARTS)
    assert done.returncode == (0 if broken == "none" else 1)
    summary = [line for line in done.stdout.splitlines() if line.startswith("make ")]
    assert [line.split(":")[0] for line in summary] == [f"make {part}" for part in PARTS]
    assert all("3 passed, 2 deselected in 1.00s" in line for line in summary)
    assert [part for part, line in zip(PARTS, summary, strict=True) if "exit 0" not in line] == [
        part for part in PARTS if part == broken
    ]
    told = done.stdout.splitlines()[done.stdout.splitlines().index(summary[0]) :]
    assert [line for line in told if line.startswith("left out")] == [
        f"left out: 7 tests, for a reason of {part}" for part in ("test", "test-slow")
    ]
