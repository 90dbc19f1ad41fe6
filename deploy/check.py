"""Looks at a live project and compares it with what must be there. All kinds of things are looked at side by side."""

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Final

from deploy.data import TerraformData, TerraformOutputs
from deploy.deployment import EVERYTHING, SWEEP, Deployment, DeploymentTarget
from deploy.entities import accounts, address, apis, bucket, build, doorbell, firestore, functions, scheduler, secrets
from deploy.entities.functions import Function
from deploy.google import Google
from deploy.rows import Row, Seen, Unseen, see
from deploy.settings import DATABASE

FEDERATED: Final = "external_account"
"""The type of the credentials of hosts that have an identity of another issuer (https://google.aip.dev/auth/4117)."""


def check(
    google: Google, target: DeploymentTarget, data: TerraformData, outputs: TerraformOutputs | None = None
) -> Sequence[Row]:
    """Return a row for each thing that must be there, and for each that should not. Raises LoggedOut."""
    deployed = see(functions.FUNCTIONS, lambda: functions.read_functions(google, target))
    subscriptions = see(doorbell.SUBSCRIPTIONS, lambda: doorbell.read_subscriptions(google, target.project))
    deployment = recognise(
        target, data, outputs or TerraformOutputs(), deployed, doorbell.pools_of(subscriptions, target.name)
    )
    comparisons = (
        lambda: apis.compare(deployment, apis.read(google, deployment)),
        lambda: accounts.compare(deployment, accounts.read(google, deployment)),
        lambda: functions.compare(deployment, functions.read(google, deployment, deployed)),
        lambda: build.compare(deployment, build.read(google, deployment)),
        lambda: firestore.compare(deployment, firestore.read(google, deployment)),
        lambda: doorbell.compare(deployment, doorbell.read(google, deployment, subscriptions)),
        lambda: secrets.compare(deployment, secrets.read(google, deployment, deployed)),
        lambda: scheduler.compare(deployment, scheduler.read(google, deployment)),
        lambda: bucket.compare(deployment, bucket.read(google, deployment)),
        lambda: address.compare(deployment, address.read(deployment)),
    )
    with ThreadPoolExecutor(len(comparisons)) as pool:
        found = list(pool.map(lambda compared: list(compared()), comparisons))
    return tuple(dict.fromkeys(chain.from_iterable(found)))  # what is denied is denied for each secret: one row


def recognise(
    target: DeploymentTarget,
    data: TerraformData,
    outputs: TerraformOutputs,
    deployed: Seen[functions.Functions],
    pools: frozenset[str],
) -> Deployment:
    """Return what is to be there. Terraform's outputs come first, then what the deployed functions have."""
    found = {} if isinstance(deployed, Unseen) else deployed
    first = f"{target.name}-"
    own = {name.removeprefix(first): one for name, one in found.items() if name.removeprefix(first) in data.services}
    credentials = {pool: config.credentials for pool, config in outputs.launcher_config.items() if config.credentials}
    return Deployment(
        target=target,
        data=data,
        gateway=_has_gateway(outputs, own),
        database=outputs.database or _usual(own.values(), "LAUNCHYARD_DATABASE") or DATABASE,
        bucket=outputs.bucket or _usual(own.values(), "LAUNCHYARD_BUCKET"),
        url=outputs.url or _usual(own.values(), "LAUNCHYARD_URL"),
        federated=frozenset(pool for pool, one in credentials.items() if one.get("type") == FEDERATED),
        pools=frozenset(credentials) | pools,
    )


def _has_gateway(outputs: TerraformOutputs, deployed: Iterable[str]) -> bool:
    """Return whether each service has a function of its own. If nothing shows it, one serves everything."""
    services = frozenset(outputs.functions) or frozenset(deployed)
    return EVERYTHING not in services and bool(services - {SWEEP})


def _usual(deployed: Iterable[Function], setting: str) -> str | None:
    """Return the value that most functions have; None if none has any."""
    values = Counter(value for one in deployed if (value := one.variables.get(setting)))
    return values.most_common(1)[0][0] if values else None
