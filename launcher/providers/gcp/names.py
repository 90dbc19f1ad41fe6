"""Names and labels of instances: the same for the same order and epoch, so that an instance is found again."""

import hashlib
import re
from collections.abc import Mapping
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from launcher.providers.gcp.options import GcpOptions
from shared.domain.spec import CapacitySpec
from shared.wire.launchers import Hold

NAME: Final = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
"""RFC 1035, as instances.insert demands."""
MAX_PREFIX_LENGTH: Final = 24
DIGEST_LENGTH: Final = 24
MAX_LABEL_LENGTH: Final = 63
MAX_RUN_LENGTH: Final = 30
REQUESTS: Final = uuid5(NAMESPACE_URL, "urn:launchyard:compute")

MANAGED: Final = "launchyard"
LAUNCHER: Final = "launchyard-launcher"
IDENTITY: Final = "launchyard-identity"
CONTROL_PLANE: Final = "launchyard-control-plane"
ORDER: Final = "launchyard-order"
EPOCH: Final = "launchyard-epoch"

Labels = dict[str, str]


def instance_name(prefix: str, hold: Hold) -> str:
    """Return a name with the order's id, or with a digest of it if the id does not fit."""
    plain = f"{prefix}-{hold.order_id}-{hold.epoch}"
    if NAME.fullmatch(plain):
        return plain
    start = re.sub(r"[^a-z0-9-]", "-", prefix.lower())[:MAX_PREFIX_LENGTH].strip("-")
    return f"{start if NAME.fullmatch(start) else 'vm'}-{_digest(hold.order_id)}-{hold.epoch}"


def request_id(hold: Hold, zone: str) -> str:
    """Return the id by which Compute Engine recognises a repeated insert. Another zone is another request."""
    return str(uuid5(REQUESTS, f"{hold.order_id}/{hold.epoch}/{zone}"))


def labels(options: GcpOptions, hold: Hold, spec: CapacitySpec) -> Labels:
    """Return an instance's labels: our own, and then those of the EasyEnclave contract (section 8)."""
    return {
        **of_launcher(options),
        IDENTITY: fitted(options.identity),
        **of_hold(hold),
        "easyenclave": "managed",
        "ee-run": fitted(hold.order_id)[:MAX_RUN_LENGTH],
        "ee-cloud": "gcp",
        "ee-node": spec.node_size.value,
        "ee-dc": fitted(spec.datacenter),
    }


def of_launcher(options: GcpOptions) -> Labels:
    """Return this launcher's labels. Another control plane's launcher may have the same name and the same project."""
    return {MANAGED: "managed", LAUNCHER: _exact(options.launcher), CONTROL_PLANE: _digest(options.control_plane)}


def is_own(options: GcpOptions, labels: Mapping[str, str]) -> bool:
    """Return whether the labels say that this launcher made the instance, and not another of its name.

    Launchers of earlier versions gave their instances no identity: those count as foreign.
    """
    return of_launcher(options).items() <= labels.items() and labels.get(IDENTITY) == fitted(options.identity)


def of_hold(hold: Hold) -> Labels:
    return {ORDER: _exact(hold.order_id), EPOCH: str(hold.epoch)}


def fitted(text: str) -> str:
    """Return a text as a valid label value. Different texts may give the same value."""
    return re.sub(r"[^a-z0-9_-]", "-", text.lower())[:MAX_LABEL_LENGTH]


def _exact(text: str) -> str:
    """Return a text as a valid label value. Different texts give different values."""
    if (value := fitted(text)) == text:
        return value
    return f"{value[: MAX_LABEL_LENGTH - DIGEST_LENGTH - 1]}-{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]
