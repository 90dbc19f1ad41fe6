"""The bucket of outputs in a store that speaks S3, made by the real aws provider on the local S3."""

import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from botocore.exceptions import ClientError

from emulators.processes import await_ready, start, stop
from emulators.s3_backend import REGION, a_backend, start_moto
from tests.infra.rehearsal import FILES
from tests.infra.stand_in.serving import Address
from tests.infra.terraform import Terraform
from tests.infra.tools import Tools, obtain_aws
from tests.local_r2 import PARENT, LocalR2, local_r2

pytestmark = [pytest.mark.infra, pytest.mark.terraform, pytest.mark.aws, pytest.mark.slow]

ADDRESS: Final = re.compile(r"^\s*TF_REATTACH_PROVIDERS='(.*)'$", re.MULTILINE)
"""What the provider writes to its log once it is ready."""
BUCKET: Final = "outputs-of-terraform"
ROOT_MODULE: Final = """
variable "endpoint" { type = string }
variable "name" { default = "launchyard" }
variable "project_id" { default = "a-project" }
variable "region" { default = "us-central1" }

locals {
  s3 = { endpoint = var.endpoint, region = "%s" }
}

module "outputs_s3" {
  source = "./modules/outputs_s3"

  bucket        = "%s"
  cors_origins  = ["https://app.example.com"]
  expire_days   = 8
  force_destroy = true
}
"""


@pytest.fixture
def r2(tmp_path: Path) -> Iterator[LocalR2]:
    """The local S3."""
    backend = a_backend()
    moto = start_moto(backend, tmp_path)
    try:
        with local_r2(backend, "another") as r2:
            yield r2
    finally:
        stop(moto)


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[Address]:
    """The address of the real provider, which starts once: each start takes seconds of a processor."""
    key = {"AWS_ACCESS_KEY_ID": PARENT.access_key, "AWS_SECRET_ACCESS_KEY": PARENT.secret_key}
    with tempfile.TemporaryDirectory() as sockets:  # a socket's path has at most 107 bytes
        environment = dict.fromkeys((name for name in os.environ if name.startswith("AWS_")), "")
        environment |= {**key, "TMPDIR": sockets}
        provider = start("the aws provider", [str(obtain_aws()), "-debug"], tmp_path / "aws.log", environment)
        try:
            await_ready(provider, lambda: ADDRESS.search(provider.log.read_text(encoding="utf-8")) is not None)
            (found,) = ADDRESS.findall(provider.log.read_text(encoding="utf-8"))
            (address,) = json.loads(found).values()
            yield address
        finally:
            stop(provider)


@pytest.fixture
def terraform(tmp_path: Path, tools: Tools, r2: LocalR2, aws: Address) -> Terraform:
    """The deployment's module and its provider's settings, without the deployment."""
    folder = tmp_path / "source" / "infra"
    (folder / "modules").mkdir(parents=True)
    for name in ("main.tf", "variables.tf", "outputs.tf"):
        copy = folder / "modules" / "outputs_s3" / name
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes((FILES / "modules" / "outputs_s3" / name).read_bytes())
    (folder / "versions.tf").write_bytes((FILES / "versions.tf").read_bytes())
    (folder / "main.tf").write_text(ROOT_MODULE % (REGION, BUCKET), encoding="utf-8")
    terraform = Terraform(folder, tmp_path / "scratch", tools, real={"aws": aws})
    terraform.init()
    return terraform


def test_the_bucket_is_made_once_and_destroyed(terraform: Terraform, r2: LocalR2) -> None:
    given = {"endpoint": r2.endpoint}
    terraform.apply(given)
    client = r2.client()
    (cors,) = client.get_bucket_cors(Bucket=BUCKET)["CORSRules"]
    rules = client.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    assert cors["AllowedOrigins"] == ["https://app.example.com"]
    assert {rule["ID"]: rule["Status"] for rule in rules} == {
        "abort-incomplete-uploads": "Enabled",
        "expire-outputs": "Enabled",
    }

    assert not terraform.has_changes(given)

    client.put_object(Bucket=BUCKET, Key="an-output", Body=b"kept")
    terraform.destroy(given)
    with pytest.raises(ClientError, match="404"):
        client.head_bucket(Bucket=BUCKET)
