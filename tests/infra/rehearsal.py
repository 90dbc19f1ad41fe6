"""Goes through the life of a deployment once a run, for all tests that look at it: plan, apply, plan again, destroy.

There are two shapes. `dev` has one public function and its outputs in Cloud Storage, `prod` a function for each service
behind a gateway and its outputs in S3. Each gets every setting and every secret that a function reads, so that what
Terraform forgets shows.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tests.infra.terraform import Terraform, TerraformFailed
from tests.infra.tools import Tools
from tests.shared_emulators import alone

ROOT: Final = Path(__file__).parents[2]
FILES: Final = ROOT / "infra" / "terraform"
DEV: Final = "dev"
PROD: Final = "prod"
MADE: Final = frozenset(
    {
        "GOOGLE_CLOUD_PROJECT",
        "LAUNCHYARD_BACKEND",
        "LAUNCHYARD_BUCKET",
        "LAUNCHYARD_DATABASE",
        "LAUNCHYARD_S3_ENDPOINT",
        "LAUNCHYARD_S3_REGION",
        "LAUNCHYARD_SIGN_AS",
        "LAUNCHYARD_SWEEP_CALLER",
        "LAUNCHYARD_TOPIC",
        "LAUNCHYARD_URL",
        "THREADS",
    }
)
"""The settings that Terraform makes from its other variables."""
PLANTED: Final = "planted-value-of-the-secret-"
"""Each secret's value begins with it."""

Resource = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came of one shape. `failed` says which step did not succeed, and why; later steps have no results."""

    shape: str
    plan: Mapping[str, Any]
    """Of its .tfvars file as it is."""
    state: Mapping[str, Any]
    """After apply."""
    state_file: str
    outputs: Mapping[str, Any]
    settles: bool
    """Whether a second plan has no changes, for which no secret's value is at hand."""
    rest: Mapping[str, Any]
    """The state after destroy."""
    failed: str = ""

    @property
    def resources(self) -> list[Resource]:
        """What was applied: address, type and values of each resource."""
        return list(resources_in(self.state.get("values", {}).get("root_module", {})))


def rehearsed(shape: str, home: Path, tools: Tools) -> Rehearsal:
    """Return the rehearsal of a shape, which the first caller of a run makes; `home` is the folder of the run."""
    with alone(home, f"rehearsal-{shape}"):
        file = home / f"rehearsal-{shape}.json"
        if not file.exists():
            file.write_text(json.dumps(asdict(_rehearse(shape, home / shape, tools))), encoding="utf-8")
        return Rehearsal(**json.loads(file.read_text(encoding="utf-8")))


def variables(shape: str, scratch: Path) -> dict[str, Any]:
    """Return what is given beside the shape's .tfvars: a bundle, and each setting and secret of the code's table."""
    bundle = scratch / "bundle.zip"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_bytes(b"the functions")
    settings = json.loads((FILES / "services.json").read_text(encoding="utf-8"))["settings"]
    secrets = [name for name, setting in settings.items() if setting["secret"]]
    return {
        "bundle": str(bundle),
        "secret_versions": dict.fromkeys(secrets, 1),
        "secrets": {name: f"{PLANTED}{name}" for name in secrets},
        "settings": {name: "a value" for name in settings if name not in {*secrets, *MADE}},
    }


def resources_in(module: Mapping[str, Any]) -> Iterator[Resource]:
    """Yield the resources of a module of a state, and of those below it."""
    yield from module.get("resources", ())
    for child in module.get("child_modules", ()):
        yield from resources_in(child)


def _rehearse(shape: str, scratch: Path, tools: Tools) -> Rehearsal:
    terraform = Terraform(FILES, scratch, tools)
    given, tfvars = variables(shape, scratch), f"-var-file=envs/{shape}.tfvars"
    # At first only the secrets' values and the bundle: the file must be complete otherwise.
    told = {"bundle": given["bundle"]}
    plan: Mapping[str, Any] = {}
    state: Mapping[str, Any] = {}
    text, outputs, settles = "", dict[str, Any](), False
    try:
        terraform.init()
        plan = terraform.plan(told, tfvars)
        terraform.apply(given, tfvars)
        state, text, outputs = terraform.state(), terraform.state_file(), terraform.outputs()
        later = given | {"secrets": {}}
        settles = not terraform.has_changes(later, tfvars)
        terraform.destroy(later, tfvars)
        rest = terraform.state()
    except TerraformFailed as error:
        return Rehearsal(shape, plan, state, text, outputs, settles, {}, str(error))
    return Rehearsal(shape, plan, state, text, outputs, settles, rest)
