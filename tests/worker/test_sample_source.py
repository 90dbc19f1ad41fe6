"""The sample source serves its files, and nothing else."""

import http.client
from urllib.parse import urlsplit

import pytest

from emulators.source import FOLDER
from tests.harness import plain_http
from tests.harness.waiting import ANSWER_SECONDS
from tests.worker.entities import PIS


def test_it_serves_entities_and_components_as_they_are(arke: str) -> None:
    for file in (*FOLDER.glob("entities/*"), *FOLDER.glob("ipfs/*")):
        assert plain_http.get(f"{arke}/{file.relative_to(FOLDER)}", timeout=ANSWER_SECONDS).content == file.read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/entities/",
        "/entities",
        f"/entities/{PIS['missing']}",
        "/expected.json",
        "/entities/../expected.json",
        "/ipfs/..%2fexpected.json",
        "/ipfs/../../../pyproject.toml",
        "//etc/passwd",
    ],
)
def test_anything_else_is_not_found(arke: str, path: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(arke).netloc, timeout=ANSWER_SECONDS)
    connection.request("GET", path)  # as it stands: a client that tidies paths would hide the question

    assert connection.getresponse().status == 404
    connection.close()
