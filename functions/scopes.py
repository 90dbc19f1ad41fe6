"""Which lanes a launcher's key is good for: an account may be kept to some clouds or datacenters."""

from collections.abc import Collection

from shared.domain.spec import ANY_POOL, EVERY


def narrowed(lanes: Collection[str], datacenters: Collection[str]) -> tuple[str, ...]:
    """Return these lanes as far as they lie within the datacenters (`gcp`, `gcp:us-central1-a`); none named: any."""
    if not datacenters:
        return tuple(lanes)
    return tuple(within for lane in lanes for scope in datacenters if (within := _within(lane, scope)))


def _within(lane: str, scope: str) -> str | None:
    """Return the part of a lane that is in the scope."""
    place, _, rest = lane.partition("/")
    cloud, _, zone = scope.partition(":")
    allowed = scope if zone else f"{cloud}:{EVERY}"
    if place in (ANY_POOL, allowed) or (not zone and place.startswith(f"{cloud}:")):
        return lane
    return f"{allowed}/{rest}" if place in (EVERY, f"{cloud}:{EVERY}") else None
