"""`launchyard vm` with a state directory of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.vm_tool import machines
from tests.launcher.test_qemu import write_image
from tests.launcher.vm_tool.tool import Tool


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tool]:
    for name in ("ADMIN_TOKEN", "EASYENCLAVE_CP_URL", "EASYENCLAVE_DEFAULT_SIZE", "LAUNCHYARD_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LAUNCHYARD_QEMU_MODE", "tcg")
    monkeypatch.setattr(machines, "PATIENCE_SECONDS", 0.2)  # a kernel that halts ignores the power button
    write_image(tmp_path / "image")
    tool = Tool(tmp_path / "state", tmp_path / "image")
    yield tool
    tool.succeed("delete", "all")
