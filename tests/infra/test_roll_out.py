"""The order in which an apply changes a deployment: what new code needs comes first, what old code needs goes last."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

from tests.infra.terraform import Terraform
from tests.infra.tools import Tools

pytestmark = [pytest.mark.infra, pytest.mark.terraform]

FILES: Final = Path(__file__).parents[2] / "infra" / "terraform"
DEV: Final = "-var-file=envs/dev.tfvars"
OLD: Final = 'google_firestore_index.index["accounts unconfirmed:ascending created_at:ascending"]: Destroying'
NEW: Final = 'google_firestore_index.index["batches unconfirmed:ascending created_at:ascending"]: Creation complete'
DEPLOYED: Final = 'module.function["everything"].google_cloudfunctions2_function.function: '


def test_new_code_finds_its_index_and_old_code_keeps_its_own_until_then(tmp_path: Path, tools: Tools) -> None:
    terraform = Terraform(FILES, tmp_path, tools)
    terraform.init()
    secrets = {"LAUNCHYARD_CALLBACK_SECRET": "0" * 64}
    terraform.apply({"bundle": _bundle(tmp_path, b"old code"), "secrets": secrets}, DEV)
    _move_an_index(terraform.folder.parent / "firestore.indexes.json")

    said = terraform.apply({"bundle": _bundle(tmp_path, b"new code")}, DEV)

    for before in (NEW, f"functions-{sha256(b'new code').hexdigest()}.zip]"):
        steps = [before, f"{DEPLOYED}Modifying", f"{DEPLOYED}Modifications complete", OLD]
        assert [said.count(step) for step in steps] == [1] * len(steps)
        assert sorted(steps, key=said.index) == steps


def _bundle(folder: Path, code: bytes) -> str:
    bundle = folder / "bundle.zip"
    bundle.write_bytes(code)
    return str(bundle)


def _move_an_index(file: Path) -> None:
    """Let another collection have the index, as if its queries had moved."""
    listed = json.loads(file.read_text(encoding="utf-8"))
    (index,) = [one for one in listed["indexes"] if one["fields"][0]["fieldPath"] == "unconfirmed"]
    index["collectionGroup"] = "batches"
    file.write_text(json.dumps(listed), encoding="utf-8")
