"""The worker's imports at run time: under emulation each costs boot time, and the guest contains only these."""

import subprocess
import sys

import pytest

from worker.guest.root import PROJECT, sources

LISTED = """
print(*(f"{name}={getattr(module, '__file__', None)}" for name, module in sys.modules.items()))
"""
IMPORTED = f"import sys, worker.__main__{LISTED}"
WITH_PROGRAMS = f"""
import sys, worker.__main__
from worker.programs import agent, command, mods_export, session
{LISTED}
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
    return modules(IMPORTED)


def modules(program: str) -> dict[str, str]:
    listed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PROJECT)
    return dict(module.split("=", 1) for module in listed.stdout.split())


def test_the_guest_holds_exactly_the_modules_of_ours_that_the_worker_and_its_programs_import() -> None:
    ours = {
        file
        for file in modules(WITH_PROGRAMS).values()
        if file.startswith((f"{PROJECT}/worker/", f"{PROJECT}/shared/"))
    }

    assert f"{PROJECT}/worker/runtime.py" in ours
    assert ours == {str(source) for source in sources()}


def test_a_program_is_imported_only_when_it_runs(imported: dict[str, str]) -> None:
    programs = {name for name in imported if name.startswith(("worker.mods", "worker.arke", "worker.programs."))}

    assert programs == {"worker.programs.table"}


def test_nothing_is_imported_that_only_others_need(imported: dict[str, str]) -> None:
    assert not ELSEWHERE & set(imported)
