"""How fast this host is: a launcher that was killed must be back before its leases end, or it adopts no machine."""

import subprocess
import sys
import time
from typing import Final

MIN_LEASE_SECONDS: Final = 10.0
LOADS: Final = 6
"""How often a lease has room for the loading of a launcher's modules. In a storm that takes several times as long."""


def lease_for_this_host() -> float:
    """Return how long a claim is to last, in seconds: longer on a host that is slow, or busy now."""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", "import launcher.composition.launcher"], check=True)
    return lease_for(time.monotonic() - begun)


def lease_for(load_seconds: float) -> float:
    return max(MIN_LEASE_SECONDS, LOADS * load_seconds)
