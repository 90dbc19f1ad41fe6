"""A pool's subscription selects exactly the bells of the orders that the pool's launchers can run.

Terraform computes the filters of pools of every shape; the launcher's own table of lanes says what they must select.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations, product
from typing import Any, Final

import pytest
from google.auth import identity_pool

from launcher.providers.fly.provider import FlyProvider
from shared.domain.lanes import MAX_OFFERED
from shared.domain.spec import OrderKind
from tests.infra.pools import CERTIFICATE, HERE, Pool, wrong_filter
from tests.infra.rehearsal import FILES
from tests.infra.terraform import Terraform, TerraformFailed
from tests.infra.tools import Tools
from tests.sampling import sample

pytestmark = [pytest.mark.infra, pytest.mark.terraform]

SUBJECT: Final = "spiffe://hosts.example/rack-7"


def pools() -> Iterator[Pool]:
    """Yield pools of every choice of kinds, sizes, secrets and labels whose filters are short enough."""
    for kinds in chain.from_iterable(combinations(OrderKind, count) for count in range(1, len(OrderKind) + 1)):
        sizes = [[], ["llm"], ["standard", "tiny"]] if OrderKind.CAPACITY in kinds else [[]]
        secrets = [False, True] if OrderKind.TASK in kinds else [False]
        labels = [[], ["gpu"]] if OrderKind.SESSION in kinds else [[]]
        for some, secret, offered in product(sizes, secrets, labels):
            if not (len(kinds) == len(OrderKind) and len(some) > 1 and secret and offered):
                yield {"datacenter": HERE, "kinds": kinds, "node_sizes": some, "secrets": secret, "labels": offered}
    yield {"datacenter": HERE, "kinds": ["session"], "labels": ["linux", "gpu"]}


POOLS: Final = {f"pool-{number}": {**pool, "subject": SUBJECT} for number, pool in enumerate(pools())}
KEYED, POLLING = "keyed", "polling"
GIVEN: Final[Mapping[str, Any]] = {
    "project_id": "launchyard-test",
    "project_number": "123456789012",
    "region": "us-central1",
    "firestore_location": "nam5",
    "outputs": {"kind": "gcs", "bucket": "outputs-of-launchyard", "location": "US"},
    "secrets": {"LAUNCHYARD_CALLBACK_SECRET": "0" * 64},
    "workload_identity": {"issuer_uri": "https://identities.example", "token_file": "/run/host/token"},
    "pools": {
        **POOLS,
        KEYED: {"datacenter": HERE, "kinds": ["task"], "public_key": CERTIFICATE},
        POLLING: {"datacenter": HERE, "kinds": ["task"]},
    },
}


@pytest.fixture(scope="module")
def terraform(tmp_path_factory: pytest.TempPathFactory, tools: Tools) -> Terraform:
    terraform = Terraform(FILES, tmp_path_factory.mktemp("pools"), tools)
    terraform.init()
    return terraform


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("bundle") / "functions.zip"
    file.write_bytes(b"")
    return str(file)


@pytest.fixture(scope="module")
def plan(terraform: Terraform, bundle: str) -> Mapping[str, Any]:
    return terraform.plan({**GIVEN, "bundle": bundle})


@pytest.fixture
def subscriptions(plan: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return the planned subscription of each pool."""
    return {one["index"]: one["values"] for one in planned(plan, "google_pubsub_subscription", "pool")}


@pytest.fixture
def configs(plan: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return each pool's part of launcher_config, but for what is known only once it was applied."""
    return dict(plan["output_changes"]["launcher_config"]["after"])


def planned(plan: Mapping[str, Any], kind: str, name: str) -> Sequence[Mapping[str, Any]]:
    resources = plan["planned_values"]["root_module"]["resources"]
    return [one for one in resources if (one["type"], one["name"]) == (kind, name)]


@pytest.mark.parametrize("name", sample(POOLS))
def test_a_pool_receives_exactly_the_bells_of_what_its_launchers_run(
    name: str, subscriptions: Mapping[str, Mapping[str, Any]], configs: Mapping[str, Any]
) -> None:
    assert wrong_filter(POOLS[name], configs[name]["settings"], subscriptions[name]["filter"]) == []


def test_launchers_that_run_images_poll_for_them() -> None:
    """So no filter selects the bells of such orders."""
    assert FlyProvider.starting_limit is not None


def test_a_launcher_listens_to_its_own_pools_subscription_and_may_pull_from_no_other(
    plan: Mapping[str, Any], subscriptions: Mapping[str, Mapping[str, Any]], configs: Mapping[str, Any]
) -> None:
    granted = {one["index"]: one["values"] for one in planned(plan, "google_pubsub_subscription_iam_member", "pool")}

    assert subscriptions.keys() == granted.keys() == POOLS.keys() | {KEYED}
    for name, subscription in subscriptions.items():
        path = f"projects/launchyard-test/subscriptions/{subscription['name']}"
        assert configs[name]["settings"]["LAUNCHYARD_SUBSCRIPTION"] == path
        assert (granted[name]["subscription"], granted[name]["role"]) == (
            subscription["name"],
            "roles/pubsub.subscriber",
        )


def test_a_host_with_an_identity_gets_credentials_without_a_secret(
    plan: Mapping[str, Any], configs: Mapping[str, Any]
) -> None:
    (provider,) = planned(plan, "google_iam_workload_identity_pool_provider", "issuer")
    hosts = {one["index"]: one["values"] for one in planned(plan, "google_service_account_iam_member", "host")}
    name = "pool-0"
    document = configs[name]["credentials"]

    assert hosts.keys() == POOLS.keys()
    assert document["credential_source"] == {"file": "/run/host/token"}
    pool, _, issuer = document["audience"].removeprefix("//iam.googleapis.com/").partition("/providers/")
    assert pool.endswith(f"/workloadIdentityPools/{provider['values']['workload_identity_pool_id']}")
    assert issuer == provider["values"]["workload_identity_pool_provider_id"]
    assert hosts[name]["member"] == f"principal://iam.googleapis.com/{pool}/subject/{SUBJECT}"
    assert provider["values"]["attribute_condition"] == f'assertion.sub in ["{SUBJECT}"]'
    assert identity_pool.Credentials.from_info(document).requires_scopes  # type: ignore[no-untyped-call]


def test_nothing_is_made_for_a_pool_that_cannot_prove_itself_and_its_launchers_are_not_told_to_listen(
    plan: Mapping[str, Any], configs: Mapping[str, Any]
) -> None:
    assert [one["address"] for one in plan["resource_changes"] if POLLING in json.dumps(one)] == []
    assert configs[POLLING]["credentials"] is None
    assert configs[POLLING]["settings"].keys() == {"LAUNCHYARD_URL", "LAUNCHYARD_DATACENTER"}


def test_a_filter_that_pub_sub_would_refuse_for_its_length_is_refused_by_the_pools_name(
    terraform: Terraform, bundle: str
) -> None:
    labels = [f"label-{number}" for number in range(MAX_OFFERED)]
    too_long = {"datacenter": HERE, "kinds": ["session"], "labels": labels, "subject": SUBJECT}

    with pytest.raises(TerraformFailed, match=r'(?s)pools\["agents"\] has \d+ bytes.*fewer labels'):
        terraform.plan({**GIVEN, "bundle": bundle, "pools": {"agents": too_long}})
