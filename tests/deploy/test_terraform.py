"""What a check expects, Terraform makes: their lists of APIs and of TTL policies have one content."""

import re
from pathlib import Path
from typing import Final

import pytest

from deploy.data import TerraformOutputs
from deploy.deployment import APIS, EXPIRING

pytestmark = pytest.mark.infra

FOLDER: Final = Path(__file__).parents[2] / "infra" / "terraform"
OPTIONAL: Final = frozenset({"billingbudgets.googleapis.com"})
"""Only a deployment with a budget has it."""


def test_the_apis_that_are_looked_for_are_those_that_terraform_enables() -> None:
    enabled = set(re.findall(r'"([a-z]+\.googleapis\.com)"', text("apis.tf")))

    assert enabled - OPTIONAL == APIS


def test_the_ttl_policies_that_are_looked_for_are_those_that_terraform_makes() -> None:
    (block,) = re.findall(r"^  expiring = \{\n(.*?)^  \}", text("firestore.tf"), re.MULTILINE | re.DOTALL)

    assert set(re.findall(r'(\w+)\s*= "(\w+)"', block)) == EXPIRING


def test_terraform_has_each_output_that_a_check_reads() -> None:
    assert set(TerraformOutputs.model_fields) <= set(re.findall(r'^output "(\w+)"', text("outputs.tf"), re.MULTILINE))


def text(file: str) -> str:
    return (FOLDER / file).read_text(encoding="utf-8")
