"""A host's root in a folder, a pool's configuration, and a systemctl that notes how it was called."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from launcher.installation.files import CREDENTIALS, ENVIRONMENT, UNIT, UNITS, inside
from launcher.installation.plan import InstallRequest
from tests.launcher.tdx_host import write

KEY: Final = "ly_a_key_that_nothing_shows"
OTHER_KEY: Final = "ly_another_key_that_nothing_shows"
URL: Final = "https://control-plane.example"
SUBSCRIPTION: Final = "projects/a-project/subscriptions/launchyard-pool-rack-7"
TOKEN: Final = "/run/identity/token"
PROGRAM: Final = Path("/opt/launchyard/bin/launchyard")
PYTHON: Final = Path("/opt/launchyard/bin/python")
AUDIENCE: Final = (
    "//iam.googleapis.com/projects/123456789/locations/global/workloadIdentityPools/hosts/providers/issuer"
)
CREDENTIALS_DOCUMENT: Final[Mapping[str, Any]] = {
    "type": "external_account",
    "audience": AUDIENCE,
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    "token_url": "https://sts.googleapis.com/v1/token",
    "service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
    "ly-pool-rack-7@a-project.iam.gserviceaccount.com:generateAccessToken",
    "credential_source": {"file": TOKEN, "format": {"type": "text"}},
}
KEY_PAIR_DOCUMENT: Final[Mapping[str, Any]] = {
    "type": "service_account",
    "universe_domain": "googleapis.com",
    "project_id": "a-project",
    "client_email": "ly-pool-rack-7@a-project.iam.gserviceaccount.com",
    "private_key_id": "0123456789abcdef",
    "token_uri": "https://oauth2.googleapis.com/token",
}
"""The private key comes from the host."""
SETTINGS: Final = {
    "LAUNCHYARD_URL": URL,
    "LAUNCHYARD_DATACENTER": "baremetal:rack-7",
    "LAUNCHYARD_SUBSCRIPTION": SUBSCRIPTION,
    "LAUNCHYARD_PROVIDER": "process",
}
"""The provider needs no image."""
SYSTEMCTL: Final = """#!/bin/sh
printf '%s\\n' "$(basename "$0") $*" >> "$CALLS"
case "$*" in
  $FAILS) echo "Job for $2 failed." >&2; exit 1;;
  list-units*) printf '%s' "$MACHINES";;
esac
case "$(basename "$0")" in journalctl) echo "the last line of the log";; esac
"""


@dataclass(frozen=True)
class HostRoot:
    """A host whose files are in a folder."""

    root: Path

    def at(self, path: Path) -> Path:
        return inside(self.root, path)

    @property
    def settings(self) -> str:
        return self.at(ENVIRONMENT).read_text()

    @property
    def credentials(self) -> Any:
        return json.loads(self.at(CREDENTIALS).read_bytes())

    @property
    def unit(self) -> str:
        return self.at(UNITS / UNIT).read_text()

    def request(self, pool: Mapping[str, Any] | None = None, **other: Any) -> InstallRequest:
        """Return what an operator asks for: by default, to join a pool with credentials."""
        config = write(self.root / "launcher_config.json", json.dumps({"rack-7": pool or a_pool()}))
        made = InstallRequest(config, "rack-7", "rack-7-host-1", KEY, PROGRAM, PYTHON, root=self.root)
        return replace(made, **other)


def a_host(root: Path) -> HostRoot:
    """Make a host that has the launcher's program and a token of its identity provider."""
    for path in (PROGRAM, PYTHON, Path(TOKEN)):
        write(inside(root, path), "a token").chmod(0o755)
    return HostRoot(root)


def a_pool(credentials: Mapping[str, Any] | None = CREDENTIALS_DOCUMENT, **settings: str) -> dict[str, Any]:
    named = {f"LAUNCHYARD_{name}": value for name, value in settings.items()}
    return {"settings": SETTINGS | named, "credentials": credentials}


def write_systemctl(folder: Path) -> Path:
    """Write the programs to a folder for the PATH, and return the file in which they note their calls."""
    for name in ("systemctl", "journalctl"):
        write(folder / name, SYSTEMCTL).chmod(0o755)
    return folder / "calls"
