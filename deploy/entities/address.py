"""The control plane's own address: whether it answers. Nothing of the operator's is sent to it."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

import httpx

from deploy.deployment import Deployment
from deploy.rows import Row, wrong
from shared.http_client import explain, open_client

SUBJECT: Final = "url"
HEALTH: Final = "/v1/health"
ANSWER_SECONDS: Final = 20.0
"""A function that has to start first takes some seconds."""


def read(deployment: Deployment) -> str | None:
    """Return what is wrong with the answer to GET /v1/health; None if nothing is, or there is no address."""
    if deployment.url is None:
        return None
    try:
        with open_client(deployment.url, timeout=ANSWER_SECONDS) as client:
            answer = client.get(HEALTH)
    except httpx.HTTPError as error:
        return explain(error, httpx.URL(deployment.url))
    return None if answer.status_code == HTTPStatus.OK else f"{HEALTH} answered {answer.status_code}"


def compare(deployment: Deployment, fault: str | None) -> Iterator[Row]:
    if deployment.url is None:
        return  # the functions' rows say why no address is known
    if fault is None:
        yield Row(SUBJECT, deployment.url)
    else:
        to_do = "with a gateway: point the domain at its address, and wait for the certificate; else read the logs"
        yield wrong(SUBJECT, deployment.url, fault, to_do)
