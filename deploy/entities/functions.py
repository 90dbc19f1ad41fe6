"""The deployed functions: state, account, environment by its names, and who may call them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from deploy.access import Grant, Policy, Resource, account_member, compare_grants, policy_of
from deploy.deployment import INVOKER, PLATFORM_SETTINGS, THREADS, Deployment, DeploymentTarget
from deploy.google import Google
from deploy.rows import APPLY, Query, Row, RowVerdict, Seen, Unseen, missing, see_each, wrong
from deploy.shapes import CamelDocument

SUBJECT: Final = "function"
SETTING: Final = "setting"
FUNCTIONS: Final = Query(SUBJECT, "the functions", "roles/cloudfunctions.viewer")
INVOKERS: Final = Query("invoker", "who may call the functions", "roles/run.viewer and roles/iam.securityReviewer")
OWN_SETTINGS: Final = frozenset({"LAUNCHYARD_SIGN_AS"})
"""What differs between functions."""
ACTIVE: Final = "ACTIVE"
LATEST: Final = "latest"


class SecretVariable(CamelDocument):
    """A variable whose value is a version of a secret."""

    key: str
    secret: str
    version: str


class ServiceConfig(CamelDocument):
    service: str = ""
    service_account_email: str = ""
    environment_variables: Mapping[str, str] = {}
    secret_environment_variables: tuple[SecretVariable, ...] = ()
    max_instance_request_concurrency: int = 1
    ingress_settings: str = "ALLOW_ALL"
    uri: str = ""


class Function(CamelDocument):
    """https://cloud.google.com/functions/docs/reference/rest/v2/projects.locations.functions"""

    name: str
    state: str = ""
    service_config: ServiceConfig = ServiceConfig()

    @property
    def variables(self) -> Mapping[str, str]:
        return self.service_config.environment_variables

    @property
    def secrets(self) -> Mapping[str, SecretVariable]:
        return {one.key: one for one in self.service_config.secret_environment_variables}


Functions = Mapping[str, Function]
"""The functions of the region whose names begin with the deployment's, by name."""


@dataclass(frozen=True, slots=True)
class FunctionsView:
    functions: Seen[Functions]
    invokers: Mapping[str, Seen[Policy]]


def read_functions(google: Google, target: DeploymentTarget) -> Functions:
    """Return the functions of a deployment. Raises LoggedOut."""
    path = f"/v2/projects/{target.project}/locations/{target.region}/functions"
    found = google.list("cloudfunctions", path, "functions")
    named = {one["name"].rpartition("/")[2]: one for one in found}
    return {name: Function.model_validate(one) for name, one in named.items() if name.startswith(f"{target.name}-")}


def read(google: Google, deployment: Deployment, functions: Seen[Functions]) -> FunctionsView:
    if isinstance(functions, Unseen):
        return FunctionsView(functions, {})

    def invokers(service: str) -> Policy:
        path = functions[deployment.function(service)].service_config.service
        return policy_of(google.policy("run", f"/v2/{path}"))

    deployed = [service for service in deployment.services if deployment.function(service) in functions]
    return FunctionsView(functions, see_each(INVOKERS, deployed, invokers))


def compare(deployment: Deployment, view: FunctionsView) -> Iterator[Row]:
    if isinstance(view.functions, Unseen):
        yield view.functions.row
        return
    for service in deployment.services:
        name = deployment.function(service)
        function = view.functions.get(name)
        if function is None:
            yield missing(SUBJECT, name)
        else:
            yield from _function(deployment, service, function)
            yield from _variables(deployment, service, function)
    yield from _disagreements(deployment, view.functions)
    for name in sorted(view.functions.keys() - {deployment.function(one) for one in deployment.services}):
        delete = f"gcloud functions delete {name} --region={deployment.target.region}"
        yield Row(SUBJECT, name, RowVerdict.EXCESS, "no service of this deployment's shape is called so", delete)
    for service, policy in view.invokers.items():
        yield from [policy.row] if isinstance(policy, Unseen) else _invokers(deployment, service, policy)


def _function(deployment: Deployment, service: str, function: Function) -> Iterator[Row]:
    name, config = deployment.function(service), function.service_config
    if function.state == ACTIVE:
        yield Row(SUBJECT, name)
    else:
        look_up = f"gcloud functions describe {name} --region={deployment.target.region}"
        yield wrong(SUBJECT, name, f"its state is {function.state or 'not known'}", look_up)
    if config.service_account_email != deployment.account(service):
        found = f"it runs as {config.service_account_email or 'the default account'}"
        yield wrong(SUBJECT, f"{name}: account", f"{found}, not as {deployment.account(service)}")
    if config.ingress_settings != deployment.ingress(service):
        found = f"it is {config.ingress_settings}, not {deployment.ingress(service)}"
        yield wrong(SUBJECT, f"{name}: ingress", found)
    threads = function.variables.get(THREADS)
    if threads is not None and threads != str(config.max_instance_request_concurrency):
        yield wrong(SETTING, f"{THREADS} of {name}", "it differs from the function's concurrency")


def _variables(deployment: Deployment, service: str, function: Function) -> Iterator[Row]:
    """Compare the names in the environment with those that the service reads; values are never shown."""
    name, read = deployment.function(service), deployment.data.services[service]
    plain, secret = function.variables.keys(), function.secrets
    for setting in sorted(deployment.settings(service)):
        if setting in plain:
            yield Row(SETTING, f"{setting} of {name}")
        else:
            yield missing(SETTING, f"{setting} of {name}", "it is not set")
    for setting in sorted(deployment.secrets(service)):
        if setting in secret:
            yield Row(SETTING, f"{setting} of {name}")
        elif setting not in plain:
            yield missing(SETTING, f"{setting} of {name}", "no secret is given for it")
    for setting in sorted(plain & read.secrets):
        found = "its value stands in the function's environment, where every viewer of the project reads it"
        yield wrong(SETTING, f"{setting} of {name}", found, f"{APPLY}, then rotate the secret")
    for setting, variable in secret.items():
        if variable.version == LATEST:
            yield wrong(
                SETTING, f"{setting} of {name}", "its version is `latest`, which changes under a running function"
            )
        if variable.secret.rpartition("/")[2] != deployment.secret(setting):
            yield wrong(SETTING, f"{setting} of {name}", f"it is not from the secret {deployment.secret(setting)}")
    for setting in sorted((plain | secret.keys()) - read.reads - PLATFORM_SETTINGS):
        yield Row(SETTING, f"{setting} of {name}", RowVerdict.EXCESS, "the function does not read it", APPLY)


def _disagreements(deployment: Deployment, functions: Functions) -> Iterator[Row]:
    """A setting or secret that one function has, every other one that reads it must have, with the same value."""
    deployed = {one: functions[name] for one in deployment.services if (name := deployment.function(one)) in functions}
    given = {one: {**function.variables, **function.secrets} for one, function in deployed.items()}
    for setting in sorted({name for values in given.values() for name in values} - PLATFORM_SETTINGS - OWN_SETTINGS):
        needed = {one for one in deployed if setting in deployment.settings(one) | deployment.secrets(one)}
        values = {one: given[one].get(setting) for one in deployed if setting in deployment.data.services[one].reads}
        usual = Counter(value for value in values.values() if value is not None).most_common(1)
        for one, value in values.items():
            if (usual and value != usual[0][0]) and (value is not None or one not in needed):
                how = "is not set, unlike" if value is None else "has another value than"
                yield wrong(SETTING, f"{setting} of {deployment.function(one)}", f"it {how} in the other functions")


def _invokers(deployment: Deployment, service: str, policy: Policy) -> Iterator[Row]:
    name = deployment.function(service)
    public = service in deployment.public
    member = "allUsers" if public else account_member(deployment.account("scheduler"))
    remove = f"gcloud run services remove-iam-policy-binding {name} --region={deployment.target.region}"
    wanted = {Grant(member, INVOKER)}
    calling = frozenset(grant for grant in policy if grant.role == INVOKER)
    # Nobody but the scheduler calls the sweep; of a public function's callers only our own accounts would be a mistake.
    yield from compare_grants(Resource(name, remove), calling, wanted, lambda _: not public, "invoker")
