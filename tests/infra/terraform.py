"""Runs the real Terraform on a copy of a folder, with the stand-in providers and without a network."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.infra.stand_in.published import PROVIDERS
from tests.infra.stand_in.serving import Address, serving, stand_in
from tests.infra.tools import Tools

TYPES: Final = re.compile(r'^\s*(?:resource|data)\s+"(\w+)"', re.MULTILINE)
ENVIRONMENT: Final = {
    "CHECKPOINT_DISABLE": "1",
    "TF_CLI_ARGS": "-no-color",
    "TF_IN_AUTOMATION": "1",
    "TF_INPUT": "0",
}
NO_REGISTRY: Final = "provider_installation {}\n"
"""Terraform installs no provider."""
TIMEOUT_SECONDS: Final = 300
CHANGES: Final = 2
"""The exit code of `plan -detailed-exitcode` if there are changes."""

Variables = Mapping[str, Any]


class TerraformFailed(Exception):
    """Terraform ended with an error; the message is all that it wrote."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run of Terraform ended, and what it wrote."""

    code: int
    text: str


class Terraform:
    """A working copy of `folder` below `scratch`, with a state of its own.

    Files beside `folder` are copied, too, so `${path.module}/../file` works. `real` gives, by a provider's name, the
    address of the real one, which runs; all others are stand-ins. Later options and variables override earlier ones, so
    `-var-file=envs/dev.tfvars` may be an option.
    """

    def __init__(
        self,
        folder: Path,
        scratch: Path,
        tools: Tools,
        *,
        real: Mapping[str, Address] | None = None,
    ) -> None:
        self.scratch = scratch
        self.folder = scratch / folder.parent.name / folder.name
        self._tools = tools
        self._plan = scratch / "plan"
        self._copy(folder)
        self._real = real or {}
        self._configure()

    def init(self) -> None:
        """Install the modules. Raises TerraformFailed."""
        self.run("init", "-backend=false")

    def validate(self) -> None:
        """Raises TerraformFailed with what is wrong with the files."""
        self.run("validate")

    def plan(self, variables: Variables, *options: str) -> dict[str, Any]:
        """Return the plan as JSON. Raises TerraformFailed."""
        self.run("plan", f"-out={self._plan}", *options, *self._given(variables))
        return self._show(str(self._plan))

    def has_changes(self, variables: Variables, *options: str) -> bool:
        """Return whether a plan would change anything. Raises TerraformFailed."""
        outcome = self.attempt("plan", "-detailed-exitcode", *options, *self._given(variables))
        if outcome.code not in (0, CHANGES):
            raise TerraformFailed(outcome.text)
        return outcome.code == CHANGES

    def apply(self, variables: Variables, *options: str) -> str:
        """Apply, and return what Terraform wrote. Raises TerraformFailed."""
        return self.run("apply", "-auto-approve", *options, *self._given(variables))

    def destroy(self, variables: Variables, *options: str) -> str:
        """Destroy everything that is in the state, and return what Terraform wrote. Raises TerraformFailed."""
        return self.run("destroy", "-auto-approve", "-refresh=false", *options, *self._given(variables))

    def state(self) -> dict[str, Any]:
        """Return the state as JSON, with all values."""
        return self._show()

    def outputs(self) -> dict[str, Any]:
        """Return the value of each output."""
        return {name: output["value"] for name, output in self._json("output", "-json").items()}

    def state_file(self) -> str:
        """Return the text of the state file."""
        return (self.folder / "terraform.tfstate").read_text(encoding="utf-8")

    def run(self, *words: str) -> str:
        """Run Terraform in the folder, and return what it wrote. Raises TerraformFailed."""
        outcome = self.attempt(*words)
        if outcome.code != 0:
            raise TerraformFailed(f"terraform {' '.join(words)}\n{outcome.text}")
        return outcome.text

    def attempt(self, *words: str) -> Outcome:
        """Run Terraform in the folder, however it ends."""
        done = self._ended(*words)
        return Outcome(done.returncode, done.stdout + done.stderr)

    def _ended(self, *words: str) -> subprocess.CompletedProcess[str]:
        with serving(self._stand_ins) as addresses:
            providers = {f"hashicorp/{name}": address for name, address in {**addresses, **self._real}.items()}
            environment = self._environment | {"TF_REATTACH_PROVIDERS": json.dumps(providers)}
            return run_terraform(self._tools.terraform, words, self.folder, environment)

    def _show(self, *plan: str) -> dict[str, Any]:
        shown: dict[str, Any] = self._json("show", "-json", *plan)
        return shown

    def _json(self, *words: str) -> Any:
        done = self._ended(*words)
        if done.returncode != 0:
            raise TerraformFailed(f"terraform {' '.join(words)}\n{done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def _given(self, variables: Variables) -> Sequence[str]:
        file = self.scratch / "given.tfvars.json"
        file.write_text(json.dumps(variables), encoding="utf-8")
        return [f"-var-file={file}"]

    def _copy(self, folder: Path) -> None:
        shutil.copytree(folder, self.folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
        for file in folder.parent.iterdir():
            if file.is_file():
                shutil.copy(file, self.folder.parent)

    def _configure(self) -> None:
        texts = [file.read_text(encoding="utf-8") for file in self.folder.rglob("*.tf")]
        types = frozenset(name for text in texts for name in TYPES.findall(text))
        names = PROVIDERS.keys() - self._real.keys()
        self._stand_ins = {name: stand_in(name, self._tools.schemas[name], types) for name in names}
        configuration = self.scratch / "terraform.rc"
        configuration.write_text(NO_REGISTRY, encoding="utf-8")
        self._environment: dict[str, str] = ENVIRONMENT | {
            "TF_CLI_CONFIG_FILE": str(configuration),
            "TF_DATA_DIR": str(self.scratch / "data"),
        }


def run_terraform(
    terraform: Sequence[str], words: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run Terraform with no setting of its own from our environment but the given ones."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "AWS_", "GOOGLE_"))}
    return subprocess.run(
        [*terraform, *words],
        cwd=folder,
        env=inherited | dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
