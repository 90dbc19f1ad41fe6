"""Labels of instances, and the ids of the requests that make them."""

from typing import Final
from uuid import NAMESPACE_URL, uuid5

from launcher.machines.remote.marks import Marks, fitted
from launcher.providers.gcp.options import GcpOptions
from shared.domain.spec import CapacitySpec
from shared.wire.launchers import Hold

MAX_RUN_LENGTH: Final = 30
REQUESTS: Final = uuid5(NAMESPACE_URL, "urn:launchyard:compute")


def request_id(hold: Hold, zone: str) -> str:
    """Return the id by which Compute Engine recognises a repeated insert. Another zone is another request."""
    return str(uuid5(REQUESTS, f"{hold.order_id}/{hold.epoch}/{zone}"))


def labels(options: GcpOptions, hold: Hold, spec: CapacitySpec) -> Marks:
    """Return an instance's labels: our own, and then those of the EasyEnclave contract (section 8)."""
    return {
        **options.owner.marks(hold),
        "easyenclave": "managed",
        "ee-run": fitted(hold.order_id)[:MAX_RUN_LENGTH],
        "ee-cloud": "gcp",
        "ee-node": spec.node_size.value,
        "ee-dc": fitted(spec.datacenter),
    }
