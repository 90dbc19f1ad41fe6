"""Terraform's files are formatted, valid and clean; what checkov may skip is listed with its reason."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tests.infra.rehearsal import FILES
from tests.infra.stand_in.published import PROVIDERS
from tests.infra.terraform import Terraform, run_terraform
from tests.infra.tools import Tools, obtain_checkov

pytestmark = pytest.mark.infra

DEPLOYED: Final = "deployed"
PLANTED: Final = "planted"
REQUIRED: Final = re.compile(r'source += "hashicorp/(\w+)"\s+version += "~> ([\d.]+)"')
EXCEPTIONS: Final = ".checkov.yaml"
Findings = Mapping[str, Any]


@pytest.mark.terraform
def test_the_files_are_formatted(tools: Tools) -> None:
    done = run_terraform(tools.terraform, ["fmt", "-check", "-recursive", "-diff"], FILES, {})

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.terraform
def test_the_files_are_valid_by_the_published_schema(tmp_path: Path, tools: Tools) -> None:
    terraform = Terraform(FILES, tmp_path, tools)
    terraform.init()
    terraform.validate()


def test_the_files_take_the_versions_that_the_stand_ins_stand_in_for() -> None:
    """Terraform does not compare them: it installs none."""
    asked = [found for file in FILES.rglob("*.tf") for found in REQUIRED.findall(file.read_text(encoding="utf-8"))]

    assert {name for name, _ in asked} == PROVIDERS.keys()
    for name, least in asked:
        assert Version(PROVIDERS[name].version) in SpecifierSet(f"~={least}"), name


@pytest.mark.slow
@pytest.mark.checkov
def test_checkov_finds_nothing_that_is_not_explained(findings: Findings) -> None:
    found = findings[DEPLOYED]

    assert [f"{one['check_id']} {one['resource']}" for one in found["failed_checks"]] == []
    assert found["passed_checks"]
    assert findings["parsing_errors"] == []
    for skipped in found["skipped_checks"]:
        assert len(skipped["check_result"]["suppress_comment"]) > len("a reason"), skipped["resource"]


@pytest.mark.slow
@pytest.mark.checkov
def test_checkov_finds_a_public_bucket(findings: Findings) -> None:
    failed = findings[PLANTED]["failed_checks"]

    assert ("CKV_GCP_114", "google_storage_bucket.outputs") in {(one["check_id"], one["resource"]) for one in failed}


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """What checkov finds in the files, and in a copy of one with a fault: its start takes longer than its checks."""
    files = tmp_path_factory.mktemp("checkov")
    shutil.copytree(FILES, files / DEPLOYED, ignore=shutil.ignore_patterns(".terraform*"))
    shutil.copy(FILES / EXCEPTIONS, files)
    text = (FILES / "outputs_bucket.tf").read_text(encoding="utf-8")
    planted = text.replace('public_access_prevention    = "enforced"', 'public_access_prevention    = "inherited"')
    assert planted != text
    (files / PLANTED).mkdir()
    (files / PLANTED / "outputs_bucket.tf").write_text(planted, encoding="utf-8")
    results = checkov(files)["results"]

    def below(folder: str) -> dict[str, Any]:
        return {
            kind: [one for one in results[kind] if one["file_path"].startswith(f"/{folder}/")]
            for kind in ("passed_checks", "failed_checks", "skipped_checks")
        }

    return {DEPLOYED: below(DEPLOYED), PLANTED: below(PLANTED), "parsing_errors": results["parsing_errors"]}


def checkov(folder: Path) -> dict[str, Any]:
    """Run checkov with the folder's own list of exceptions."""
    argv = [str(obtain_checkov()), "-m", "checkov.main", "--directory", ".", "--framework", "terraform"]
    argv += ["--output", "json", "--compact", "--skip-download", "--download-external-modules", "false"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
