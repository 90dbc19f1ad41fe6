"""A folder in which Terraform finds the stand-ins, instead of the registry (its `filesystem_mirror`)."""

import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.infra.stand_in.schema import of_types, parse, render

ROOT: Final = Path(__file__).parents[3]
ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
TARGET: Final = f"linux_{ARCHITECTURES.get(platform.machine(), platform.machine())}"


@dataclass(frozen=True, slots=True)
class Published:
    """A version of a provider, and the bindings that carry its schema."""

    version: str
    bindings: str


PROVIDERS: Final[Mapping[str, Published]] = {
    "aws": Published("5.100.0", "cdktf-cdktf-provider-aws"),
    "google": Published("6.50.0", "cdktf-cdktf-provider-google"),
}


def add_to_mirror(mirror: Path, name: str, schema: Path, types: frozenset[str]) -> None:
    """Put a stand-in for the provider into the mirror, with these types of its schema (a file that `render` wrote)."""
    version = PROVIDERS[name].version
    folder = mirror / "registry.terraform.io" / "hashicorp" / name / version / TARGET
    folder.mkdir(parents=True)
    part = folder / "schema.json"
    part.write_text(render(of_types(parse(schema.read_text(encoding="utf-8")), types)), encoding="utf-8")
    program = folder / f"terraform-provider-{name}_v{version}"
    command = shlex.join([sys.executable, "-m", __package__ or "", name, str(part)])
    program.write_text(f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {command}\n", encoding="utf-8")
    program.chmod(0o755)
