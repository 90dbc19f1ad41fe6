"""The environment of a deployment: emulators, a bucket, secrets, and the variables that name them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from emulators import google, s3, source
from emulators.environment import make_environment
from emulators.fakes.trust_authority import API_KEY, start_trust_authority
from emulators.record import LOGS, Record
from emulators.s3_backend import REGION
from emulators.settings import BUCKET, BackendChoice, StackSettings, free_ports
from functions.adapters.s3 import s3_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FIRESTORE: Final = "FIRESTORE_EMULATOR_HOST"
PUBSUB: Final = "PUBSUB_EMULATOR_HOST"


@dataclass(frozen=True, slots=True)
class Environment:
    """`variables` is what every process of the deployment is given."""

    home: Path
    settings: StackSettings
    variables: Mapping[str, str] = field(repr=False)

    @property
    def logs(self) -> Path:
        return self.home / LOGS

    def objects(self) -> Mapping[str, bytes]:
        """Return every object in the bucket, by its key."""
        with self.bucket() as bucket:
            return {key: bucket.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys_in(bucket)}

    @contextmanager
    def bucket(self) -> Iterator["S3Client"]:
        with closing(s3_client(self.variables["LAUNCHYARD_S3_ENDPOINT"], REGION, *self._bucket_key())) as client:
            yield client

    def _bucket_key(self) -> tuple[str, str]:
        return self.variables["LAUNCHYARD_S3_ACCESS_KEY_ID"], self.variables["LAUNCHYARD_S3_SECRET_ACCESS_KEY"]

    def start(self, services: Sequence["Service"]) -> None:
        """Start the services, all at the same time. Raises StartFailed."""
        with ThreadPoolExecutor(len(services)) as pool:
            list(pool.map(lambda service: service(self), services))


Service = Callable[[Environment], object]


def firestore(environment: Environment) -> None:
    google.start_firestore(environment.settings.firestore_port, environment.logs)


def pubsub(environment: Environment) -> None:
    google.start_pubsub(environment.settings.pubsub_port, environment.logs)


def object_store(environment: Environment) -> None:
    s3.start_s3(environment.settings.s3_port, environment.logs, *environment._bucket_key(), BUCKET)


def export_source(environment: Environment) -> None:
    source.start_source(environment.settings.source_port, environment.logs)


def trust_authority(environment: Environment) -> None:
    start_trust_authority(environment.settings.trust_port, environment.logs, environment.variables[API_KEY])


@contextmanager
def running_environment(home: Path, services: Sequence[Service], **variables: str) -> Iterator[Environment]:
    """Yield an environment in a folder and on ports of its own, in which these services run; stop them at the end.

    `variables` replace those that the environment would have: those of emulators that run already. Raises StartFailed.
    """
    settings = StackSettings.model_validate({"home": home, "backend": BackendChoice.GOOGLE, **free_ports()})
    environment = Environment(home, settings, make_environment(settings) | variables)
    try:
        environment.start(services)
        yield environment
    finally:
        Record(home).stop_all()


def keys_in(bucket: "S3Client", prefix: str = "") -> list[str]:
    """Return the keys of all objects whose keys begin with the prefix, sorted."""
    pages = bucket.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def open_uploads(bucket: "S3Client", prefix: str) -> list[str]:
    """Return the keys of all uploads in parts that are neither completed nor aborted."""
    found = bucket.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix)
    return [upload["Key"] for upload in found.get("Uploads", [])]
