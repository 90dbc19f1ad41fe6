"""The doorbell's topics, the pools' subscriptions, and who may publish and subscribe.

A subscription with a dead-letter policy forwards nothing unless Pub/Sub's service agent may subscribe to it, and
publish to the dead-letter topic: https://cloud.google.com/pubsub/docs/handling-failures#grant_forwarding_permissions
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from deploy.access import Grant, Policy, Resource, account_member, compare_grants, policy_of
from deploy.data import Requirement
from deploy.deployment import PUBLISHER, SUBSCRIBER, Deployment
from deploy.google import Google
from deploy.rows import Query, Row, Seen, Unseen, missing, see, see_each, wrong
from deploy.shapes import CamelDocument

TOPIC: Final = "topic"
SUBSCRIPTION: Final = "subscription"
ROLE: Final = "role"
API: Final = "pubsub"
VIEWER: Final = "roles/pubsub.viewer"
TOPICS: Final = Query(TOPIC, "the topics", VIEWER)
SUBSCRIPTIONS: Final = Query(SUBSCRIPTION, "the subscriptions", VIEWER)
POLICIES: Final = Query(ROLE, "the roles on topics and subscriptions", "roles/iam.securityReviewer")
NUMBER: Final = Query(ROLE, "the project's number", "roles/browser")
AGENT: Final = "gcp-sa-pubsub.iam.gserviceaccount.com"


class DeadLetterPolicy(CamelDocument):
    dead_letter_topic: str = ""


class ExpirationPolicy(CamelDocument):
    """Without a `ttl`, the subscription never expires."""

    ttl: str | None = None


class Subscription(CamelDocument):
    """https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions"""

    name: str
    topic: str
    filter: str = ""
    dead_letter_policy: DeadLetterPolicy | None = None
    expiration_policy: ExpirationPolicy | None = None
    retry_policy: Mapping[str, Any] | None = None


Subscriptions = Mapping[str, Subscription]
"""The project's subscriptions, by name."""


@dataclass(frozen=True, slots=True)
class DoorbellView:
    """The names of topics and subscriptions are without their project. On the emulator there are no policies."""

    number: Seen[str] | None
    topics: Seen[frozenset[str]]
    subscriptions: Seen[Subscriptions]
    topic_policies: Mapping[str, Seen[Policy]]
    subscription_policies: Mapping[str, Seen[Policy]]


def read_subscriptions(google: Google, project: str) -> Subscriptions:
    """Return the subscriptions of a project. Raises LoggedOut."""
    found = google.list(API, f"/v1/projects/{project}/subscriptions", "subscriptions")
    return {_last(one["name"]): Subscription.model_validate(one) for one in found}


def read(google: Google, deployment: Deployment, subscriptions: Seen[Subscriptions]) -> DoorbellView:
    project = deployment.target.project

    def topics() -> frozenset[str]:
        found = google.list(API, f"/v1/projects/{project}/topics", "topics")
        return frozenset(_last(one["name"]) for one in found)

    def number() -> str:
        document = google.get("cloudresourcemanager", f"/v3/projects/{project}")
        return str(document["name"]).rpartition("/")[2]

    def policy(path: str) -> Policy:
        return policy_of(google.policy(API, f"/v1/projects/{project}/{path}"))

    all_topics = see(TOPICS, topics)
    if google.endpoints.is_emulator(API):
        return DoorbellView(None, all_topics, subscriptions, {}, {})
    ours = [] if isinstance(all_topics, Unseen) else sorted({deployment.topic, deployment.dead_topic} & all_topics)
    pools = {deployment.subscription(pool) for pool in deployment.pools}
    heard = [] if isinstance(subscriptions, Unseen) else sorted(pools & subscriptions.keys())
    return DoorbellView(
        see(NUMBER, number),
        all_topics,
        subscriptions,
        see_each(POLICIES, ours, lambda topic: policy(f"topics/{topic}")),
        see_each(POLICIES, heard, lambda subscription: policy(f"subscriptions/{subscription}")),
    )


def pools_of(subscriptions: Seen[Subscriptions], name: str) -> frozenset[str]:
    """Return the pools that have a subscription; none if that cannot be seen."""
    prefix, named = f"{name}-pool-", () if isinstance(subscriptions, Unseen) else subscriptions
    return frozenset(one.removeprefix(prefix) for one in named if one.startswith(prefix))


def compare(deployment: Deployment, view: DoorbellView) -> Iterator[Row]:
    if isinstance(view.topics, Unseen):
        yield view.topics.row
    else:
        for topic in (deployment.topic, deployment.dead_topic):
            yield Row(TOPIC, topic) if topic in view.topics else missing(TOPIC, topic)
    if isinstance(view.subscriptions, Unseen):
        yield view.subscriptions.row
    else:
        yield from _subscriptions(deployment, view.subscriptions)
    if isinstance(view.number, Unseen):
        yield view.number.row
    elif view.number is not None:
        yield from _roles(deployment, view, f"serviceAccount:service-{view.number}@{AGENT}")


def _subscriptions(deployment: Deployment, found: Subscriptions) -> Iterator[Row]:
    for pool in sorted(deployment.pools):
        name = deployment.subscription(pool)
        if name not in found:
            yield missing(SUBSCRIPTION, name)
            continue
        faults = list(_faults(deployment, found[name]))
        yield from (wrong(SUBSCRIPTION, name, fault) for fault in faults)
        if not faults:
            yield Row(SUBSCRIPTION, name)
    if any(_last(one.topic) == deployment.dead_topic for one in found.values()):
        yield Row(SUBSCRIPTION, f"one of {deployment.dead_topic}")
    else:
        yield missing(SUBSCRIPTION, f"one of {deployment.dead_topic}", "dead letters are lost, and nobody is alerted")


def _faults(deployment: Deployment, subscription: Subscription) -> Iterator[str]:
    expiration, dead = subscription.expiration_policy, subscription.dead_letter_policy
    if _last(subscription.topic) != deployment.topic:
        yield f"it is not one of the topic {deployment.topic}, or that topic was deleted meanwhile"
    if not subscription.filter:
        yield "it has no filter, so the pool receives the bells of all others"
    if dead is None or _last(dead.dead_letter_topic) != deployment.dead_topic:
        yield f"its dead letters do not go to {deployment.dead_topic}"
    if expiration is None or expiration.ttl is not None:
        yield "it expires if no launcher of the pool pulls for some weeks"
    if subscription.retry_policy is None:
        yield "it has no retry policy, so a bell that is given back rings again at once"


def _roles(deployment: Deployment, view: DoorbellView, agent: str) -> Iterator[Row]:
    ours = frozenset(account_member(email) for email in deployment.accounts)
    publishers = {deployment.topic: deployment.users_of(Requirement.DOORBELL)}
    publishers[deployment.dead_topic] = frozenset({Grant(agent, PUBLISHER)})
    for topic, policy in view.topic_policies.items():
        resource = Resource(f"topic {topic}", f"gcloud pubsub topics remove-iam-policy-binding {topic}")
        yield from _compare(resource, policy, publishers[topic], ours)
    for pool in sorted(deployment.pools):
        name = deployment.subscription(pool)
        if name in view.subscription_policies:
            launchers = account_member(deployment.account(f"pool-{pool}"))
            wanted = frozenset({Grant(launchers, SUBSCRIBER), Grant(agent, SUBSCRIBER)})
            resource = Resource(f"subscription {name}", f"gcloud pubsub subscriptions remove-iam-policy-binding {name}")
            yield from _compare(resource, view.subscription_policies[name], wanted, ours)


def _compare(resource: Resource, policy: Seen[Policy], wanted: frozenset[Grant], ours: frozenset[str]) -> Iterator[Row]:
    if isinstance(policy, Unseen):
        yield policy.row
    else:
        yield from compare_grants(resource, policy, wanted, ours.__contains__)


def _last(path: str) -> str:
    return path.rpartition("/")[2]
