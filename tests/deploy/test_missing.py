"""Whatever is taken away from a whole project, one row names it, and says what to do."""

from typing import Any, Final

import pytest

from deploy.report import exit_code
from deploy.rows import Row, RowVerdict
from tests.deploy.conftest import Live
from tests.deploy.whole import (
    DATABASE,
    FUNCTIONS,
    JOB,
    OUTPUTS,
    POLICY,
    RUN,
    SECRETS,
    SERVICE_APIS,
    SUBSCRIPTIONS,
    TOPICS,
    whole,
)
from tests.harness.google_project.resources import Resources
from tests.sampling import sample

pytestmark = pytest.mark.infra

PLAIN: Final = whole("https://example.com", gateway=False)
GATEWAY: Final = whole("https://example.com", gateway=True)
SECRET_SETTINGS: Final = frozenset({"LAUNCHYARD_ADMIN_PASSWORD", "LAUNCHYARD_CALLBACK_SECRET"})
NEEDED: Final = frozenset(
    {
        *("GOOGLE_CLOUD_PROJECT", "LAUNCHYARD_BUCKET", "LAUNCHYARD_CALLBACK_SECRET", "LAUNCHYARD_DATABASE"),
        *("LAUNCHYARD_SIGN_AS", "LAUNCHYARD_SWEEP_CALLER", "LAUNCHYARD_TOPIC", "LAUNCHYARD_URL", "THREADS"),
    }
)
OUR_MEMBERS: Final = ("serviceAccount:", "allUsers", "principal:")
NOT_OURS: Final = frozenset(
    {POLICY, f"{TOPICS}/another-teams", f"{DATABASE}/collectionGroups/__default__/fields/*"}
    | {path for path in PLAIN.documents if path.startswith(RUN)}  # it goes with its function
    | {f"{SERVICE_APIS}/serviceusage.googleapis.com"}
)
"""What the deployment does not make."""


def resources(made: Resources) -> list[str]:
    return sorted(made.documents.keys() - NOT_OURS)


def grants(made: Resources) -> list[tuple[str, str, str]]:
    return sorted(grant for grant in made.grants() if grant[1].startswith(OUR_MEMBERS))


def given(path: str) -> set[str]:
    """Return the names of a function's settings and secrets."""
    running = PLAIN.documents[path]["serviceConfig"]
    return {*running["environmentVariables"], *(one["key"] for one in running["secretEnvironmentVariables"])}


def known_to_be_needed(kind: str) -> list[tuple[str, str]]:
    """Return each function's path with each setting that it must have: it needs it, or another function has it."""
    paths = [path for path in PLAIN.documents if path.startswith(FUNCTIONS)]
    found = []
    for path in paths:
        for setting in sorted(given(path) - {"LOG_EXECUTION_ID"}):
            others = any(setting in given(other) for other in paths if other != path)
            if (setting in NEEDED or others) and (setting in SECRET_SETTINGS) == (kind == "secret"):
                found.append((path, setting))
    return found


@pytest.mark.parametrize("path", sample(resources(PLAIN)))
def test_a_resource_that_is_gone_has_one_row(live: Live, path: str) -> None:
    del live.resources.documents[path]

    (fault,) = known(live)

    assert fault.verdict is RowVerdict.MISSING
    assert fault.to_do
    assert last_word(path) in f"{fault.name} {fault.found}"


@pytest.mark.parametrize("path", sample([path for path in resources(GATEWAY) if path.startswith(FUNCTIONS)]))
def test_a_function_of_a_gateway_that_is_gone_has_one_row(live: Live, path: str) -> None:
    live.reset(gateway=True)
    del live.resources.documents[path]

    (fault,) = known(live)

    assert (fault.verdict, fault.subject, fault.name) == (RowVerdict.MISSING, "function", path.rpartition("/")[2])


@pytest.mark.parametrize(("path", "member", "role"), sample(grants(PLAIN)))
def test_a_role_that_is_gone_has_one_row(live: Live, path: str, member: str, role: str) -> None:
    live.resources.revoke(path, member, role)

    (fault,) = known(live)

    assert fault.verdict is RowVerdict.MISSING
    assert role.removeprefix("roles/") in fault.name
    assert member.removeprefix("serviceAccount:").partition("@")[0] in fault.name or member.startswith("principal:")


@pytest.mark.parametrize(("path", "setting"), sample(known_to_be_needed("plain")))
def test_a_setting_that_is_gone_has_one_row(live: Live, path: str, setting: str) -> None:
    del config(live, path)["environmentVariables"][setting]

    (fault,) = known(live)

    assert (fault.subject, fault.name) == ("setting", f"{setting} of {path.rpartition('/')[2]}")


@pytest.mark.parametrize(("path", "setting"), sample(known_to_be_needed("secret")))
def test_a_secret_setting_that_is_gone_has_one_row(live: Live, path: str, setting: str) -> None:
    secrets = config(live, path)["secretEnvironmentVariables"]
    secrets[:] = [one for one in secrets if one["key"] != setting]

    (fault,) = known(live)

    assert (fault.subject, fault.name) == ("setting", f"{setting} of {path.rpartition('/')[2]}")


@pytest.mark.parametrize(
    ("path", "change", "found"),
    [
        (f"{FUNCTIONS}/launchyard-sweep", {"state": "FAILED"}, "FAILED"),
        (DATABASE, {"type": "DATASTORE_MODE"}, "native"),
        (f"{DATABASE}/collectionGroups/agents/indexes/CICAgO0", {"state": "CREATING"}, "being built"),
        (f"{DATABASE}/collectionGroups/agents/indexes/CICAgO0", {"state": "NEEDS_REPAIR"}, "NEEDS_REPAIR"),
        (f"{DATABASE}/collectionGroups/api_keys/fields/*", {"indexConfig": {"usesAncestorConfig": True}}, "automatic"),
        (
            f"{DATABASE}/collectionGroups/orders/fields/recent",
            {"indexConfig": {"indexes": []}},
            "are not those of infra/firestore.indexes.json",
        ),
        (
            f"{DATABASE}/collectionGroups/spent_proofs/fields/expires_at",
            {"ttlConfig": {"state": "NEEDS_REPAIR"}},
            "NEEDS_REPAIR",
        ),
        (f"{SUBSCRIPTIONS}/launchyard-pool-rack-7", {"filter": ""}, "no filter"),
        (f"{SUBSCRIPTIONS}/launchyard-pool-rack-7", {"topic": "_deleted-topic_"}, "deleted"),
        (f"{SUBSCRIPTIONS}/launchyard-pool-rack-7", {"expirationPolicy": {"ttl": "2678400s"}}, "expires"),
        (f"{SUBSCRIPTIONS}/launchyard-pool-rack-7", {"expirationPolicy": None}, "expires"),
        (f"{SUBSCRIPTIONS}/launchyard-pool-rack-7", {"deadLetterPolicy": None}, "dead letters"),
        (f"{SUBSCRIPTIONS}/launchyard-pool-rack-7", {"retryPolicy": None}, "retry"),
        (f"{SUBSCRIPTIONS}/launchyard-doorbell-dead", {"topic": "_deleted-topic_"}, "nobody is alerted"),
        (f"{SECRETS}/launchyard-launchyard-callback-secret/versions/1", {"state": "DISABLED"}, "DISABLED"),
        (JOB, {"state": "PAUSED"}, "PAUSED"),
        (JOB, {"status": {"code": 7}}, "code 7"),
        (JOB, {"lastAttemptTime": None}, "never run"),
        (JOB, {"httpTarget": {"uri": "https://example.com/v1/sweeps", "httpMethod": "POST"}}, "does not call as"),
        (OUTPUTS, {"lifecycle": {}}, "never completed"),
        (OUTPUTS, {"iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}}}, "public"),
        (OUTPUTS, {"iamConfiguration": {"publicAccessPrevention": "enforced"}}, "access lists"),
    ],
)
def test_what_is_there_but_wrong_has_one_row(live: Live, path: str, change: dict[str, Any], found: str) -> None:
    live.resources.documents[path].update(change)

    (fault,) = known(live)

    assert fault.verdict in {RowVerdict.WRONG, RowVerdict.MISSING}
    assert found in fault.found
    assert fault.to_do


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"serviceAccountEmail": "123-compute@developer.gserviceaccount.com"}, "launchyard-sweep: account"),
        ({"ingressSettings": "ALLOW_ALL"}, "launchyard-sweep: ingress"),
        ({"maxInstanceRequestConcurrency": 1}, "THREADS of launchyard-sweep"),
    ],
)
def test_a_function_that_is_deployed_wrongly_has_one_row(live: Live, change: dict[str, Any], name: str) -> None:
    config(live, f"{FUNCTIONS}/launchyard-sweep").update(change)

    (fault,) = known(live)

    assert (fault.verdict, fault.name) == (RowVerdict.WRONG, name)


def test_a_version_that_moves_under_a_running_function_has_a_row(live: Live) -> None:
    live.resources.put(f"{SECRETS}/launchyard-launchyard-admin-password/versions/latest", {"state": "ENABLED"})
    readers = set()
    for path in resources(PLAIN):
        if path.startswith(FUNCTIONS) and "LAUNCHYARD_ADMIN_PASSWORD" in given(path):
            readers.add(f"LAUNCHYARD_ADMIN_PASSWORD of {path.rpartition('/')[2]}")
            (variable,) = (one for one in config(live, path)["secretEnvironmentVariables"] if "ADMIN" in one["key"])
            variable["version"] = "latest"

    assert {fault.name for fault in known(live)} == readers


def test_functions_that_have_different_values_have_a_row(live: Live) -> None:
    config(live, f"{FUNCTIONS}/launchyard-sweep")["environmentVariables"]["LAUNCHYARD_TOPIC"] = "another"

    (fault,) = known(live)

    assert fault.name in {f"LAUNCHYARD_TOPIC of launchyard-{service}" for service in ("everything", "sweep")}
    assert "another value" in fault.found


def test_a_control_plane_that_is_not_ready_has_one_row(live: Live) -> None:
    live.control_plane.status = 503

    (fault,) = known(live)

    assert (fault.subject, fault.found) == ("url", "/v1/health answered 503")


def test_the_exit_code_is_1_if_anything_is_missing_even_if_something_else_cannot_be_seen(live: Live) -> None:
    del live.resources.documents[JOB]
    live.behaviour.denied.add("pubsub/")

    assert exit_code(live.check()) == 1


def known(live: Live) -> list[Row]:
    """Return the faults that are known to be faults: not those that an API which is off keeps from being seen."""
    return [row for row in live.faults() if row.verdict is not RowVerdict.UNSEEN]


def config(live: Live, path: str) -> dict[str, Any]:
    """Return the part of a function's document that says how it runs."""
    found: dict[str, Any] = live.resources.documents[path]["serviceConfig"]
    return found


def last_word(path: str) -> str:
    """Return what a row must name of a resource."""
    *_, parent, kind, name = path.split("/")
    if kind == "indexes":
        return parent
    if kind == "fields":
        return f"{parent}.{name}"
    if kind == "versions":
        return f"{parent} version {name}"
    return name
