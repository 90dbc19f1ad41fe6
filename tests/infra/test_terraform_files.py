"""Terraform's files are formatted, valid and clean; what checkov may skip is listed with its reason."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.infra.rehearsal import FILES
from tests.infra.terraform import Terraform, run_terraform
from tests.infra.tools import Tools, obtain_checkov

pytestmark = pytest.mark.infra


@pytest.mark.terraform
def test_the_files_are_formatted(tools: Tools) -> None:
    done = run_terraform(tools.terraform, ["fmt", "-check", "-recursive", "-diff"], FILES, {})

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.terraform
def test_the_files_are_valid_by_the_published_schema(tmp_path: Path, tools: Tools) -> None:
    terraform = Terraform(FILES, tmp_path, tools)
    terraform.init()
    terraform.validate()


@pytest.mark.checkov
def test_checkov_finds_nothing_that_is_not_explained() -> None:
    found = checkov(FILES)

    assert [f"{one['check_id']} {one['resource']}" for one in found["results"]["failed_checks"]] == []
    assert found["summary"]["passed"] > 0
    assert found["summary"]["parsing_errors"] == 0
    for skipped in found["results"]["skipped_checks"]:
        assert len(skipped["check_result"]["suppress_comment"]) > len("a reason"), skipped["resource"]


@pytest.mark.checkov
def test_checkov_finds_a_public_bucket(tmp_path: Path) -> None:
    files = tmp_path / "terraform"
    shutil.copytree(FILES, files, ignore=shutil.ignore_patterns(".terraform*"))
    bucket = files / "outputs_bucket.tf"
    text = bucket.read_text(encoding="utf-8")
    planted = text.replace('public_access_prevention    = "enforced"', 'public_access_prevention    = "inherited"')
    assert planted != text
    bucket.write_text(planted, encoding="utf-8")

    failed = checkov(files)["results"]["failed_checks"]

    assert ("CKV_GCP_114", "google_storage_bucket.outputs") in {(one["check_id"], one["resource"]) for one in failed}


def checkov(folder: Path) -> dict[str, Any]:
    """Run checkov with the folder's own list of exceptions."""
    argv = [str(obtain_checkov()), "-m", "checkov.main", "--directory", ".", "--framework", "terraform"]
    argv += ["--output", "json", "--compact", "--skip-download", "--download-external-modules", "false"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
