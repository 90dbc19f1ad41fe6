"""The doorbell over Google Cloud Pub/Sub."""

from concurrent.futures import TimeoutError as TookTooLong
from typing import Final

from google.api_core.exceptions import GoogleAPIError
from google.api_core.retry import Retry
from google.auth.exceptions import GoogleAuthError
from google.cloud.pubsub_v1 import PublisherClient

from functions.domain.refusals import Unavailable
from shared.wire.bell import Bell, to_attributes

PUBLISH_SECONDS: Final = 10.0
RETRY: Final = Retry(initial=0.1, maximum=2.0, timeout=PUBLISH_SECONDS)


class PubSubDoorbell:
    """`topic_path` is `projects/<project>/topics/<topic>`."""

    def __init__(self, publisher: PublisherClient, topic_path: str) -> None:
        self._publisher, self._topic_path = publisher, topic_path

    def ring(self, bell: Bell) -> None:
        attributes = to_attributes(bell)
        try:
            answer = self._publisher.publish(self._topic_path, b"", retry=RETRY, timeout=PUBLISH_SECONDS, **attributes)
            answer.result(PUBLISH_SECONDS)
        except (GoogleAPIError, GoogleAuthError, TookTooLong) as error:
            raise Unavailable("The doorbell could not be rung now.") from error
