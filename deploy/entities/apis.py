"""The APIs that are enabled in the project."""

from collections.abc import Iterator
from typing import Final

from deploy.deployment import APIS, Deployment
from deploy.google import Google
from deploy.rows import Query, Row, Seen, Unseen, missing, see

SUBJECT: Final = "api"
QUERY: Final = Query(SUBJECT, "the enabled APIs", "roles/serviceusage.serviceUsageViewer")

ApisView = Seen[frozenset[str]]


def read(google: Google, deployment: Deployment) -> ApisView:
    """Return the names of the enabled APIs."""
    path = f"/v1/projects/{deployment.target.project}/services"
    return see(
        QUERY,
        lambda: frozenset(
            service["name"].rpartition("/")[2]
            for service in google.list("serviceusage", path, "services", filter="state:ENABLED")
        ),
    )


def compare(deployment: Deployment, view: ApisView) -> Iterator[Row]:
    if isinstance(view, Unseen):
        yield view.row
        return
    for api in sorted(APIS):
        if api in view:
            yield Row(SUBJECT, api)
        else:
            enable = f"gcloud services enable {api} --project={deployment.target.project}"
            yield missing(SUBJECT, api, "it is not enabled", enable)
