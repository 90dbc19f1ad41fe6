"""What the worker needs at run time: under emulation every import costs boot time, and the guest holds only this."""

import subprocess
import sys

import pytest

from worker.guest.root import PROJECT, sources

IMPORTED = """
import sys, worker.__main__
print(*(f"{name}={getattr(module, '__file__', None)}" for name, module in sys.modules.items()))
"""
ELSEWHERE = {
    "boto3",
    "functions_framework",
    "lxml",
    "psutil",
    "pydantic_settings",
    "qemu",
    "requests",
    "typer",
}
"""What other parts need, or one program alone."""


@pytest.fixture(scope="module")
def imported() -> dict[str, str]:
    """The file of each module that is loaded before the worker runs anything."""
    listed = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True, cwd=PROJECT)
    return dict(module.split("=", 1) for module in listed.stdout.split())


def test_the_guest_holds_every_module_of_ours_that_the_worker_imports(imported: dict[str, str]) -> None:
    ours = {file for file in imported.values() if file.startswith((f"{PROJECT}/worker/", f"{PROJECT}/shared/"))}

    assert f"{PROJECT}/worker/runtime.py" in ours
    assert ours <= {str(source) for source in sources()}


def test_nothing_is_imported_that_only_others_need(imported: dict[str, str]) -> None:
    assert not ELSEWHERE & set(imported)
