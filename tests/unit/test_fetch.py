"""How the emulators are found, installed or fetched; the downloads come from a server of the test's own."""

import hashlib
import io
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from werkzeug import Request, Response

from emulators.fetch import Download, fetch
from emulators.google import FIRESTORE, PUBSUB, Emulator, command
from emulators.processes import LOOPBACK, StartFailed, free_port
from emulators.serving import serving

JAR: Final = b"the bytes of a program"


class Files:
    """A static server that counts what it served."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.served: list[str] = []

    def answer(self, request: Request) -> Response:
        self.served.append(request.path)
        content = self.contents.get(request.path)
        return Response(status=404) if content is None else Response(content)


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def url(files: Files) -> Iterator[str]:
    with serving(Request.application(files.answer)) as base:
        yield base


def a_jar(files: Files, url: str, content: bytes = JAR) -> Download:
    files.contents["/emulator.jar"] = content
    return Download(f"{url}/emulator.jar", hashlib.sha256(JAR).hexdigest(), "emulator.jar")


def a_zip(files: Files, url: str) -> Download:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("emulator/bin/run", "#!/bin/sh\n")
        archive.writestr("emulator/lib/emulator.jar", JAR)
    files.contents["/emulator.zip"] = packed.getvalue()
    return Download(f"{url}/emulator.zip", hashlib.sha256(packed.getvalue()).hexdigest(), "emulator/bin/run")


def test_a_download_with_the_pinned_digest_is_kept_and_fetched_once(files: Files, url: str, tmp_path: Path) -> None:
    download = a_jar(files, url)
    first, second = fetch(download, tmp_path), fetch(download, tmp_path)
    assert first == second == tmp_path / "emulator.jar"
    assert first.read_bytes() == JAR
    assert files.served == ["/emulator.jar"]


def test_a_download_with_another_digest_is_refused_and_leaves_nothing(files: Files, url: str, tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="SHA-256"):
        fetch(a_jar(files, url, content=JAR + b"!"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cached_file_that_was_changed_is_fetched_again(files: Files, url: str, tmp_path: Path) -> None:
    download = a_jar(files, url)
    fetch(download, tmp_path).write_bytes(b"something else")
    assert fetch(download, tmp_path).read_bytes() == JAR


def test_an_archive_is_unpacked_whole_and_once(files: Files, url: str, tmp_path: Path) -> None:
    download = a_zip(files, url)
    program = fetch(download, tmp_path)
    assert program.read_text() == "#!/bin/sh\n"
    assert (program.parent.parent / "lib/emulator.jar").read_bytes() == JAR
    assert fetch(download, tmp_path) == program
    assert files.served == ["/emulator.zip"]


@pytest.mark.parametrize("missing", ["/other.jar", None])
def test_a_download_that_cannot_be_had_says_which(files: Files, url: str, tmp_path: Path, missing: str | None) -> None:
    where = f"{url}{missing}" if missing else f"http://{LOOPBACK}:{free_port()}/other.jar"
    with pytest.raises(StartFailed, match=r"other\.jar"):
        fetch(Download(where, "0" * 64, "other.jar"), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An SDK's root on a PATH that holds nothing else but a java."""
    root = tmp_path / "sdk"
    (root / "bin").mkdir(parents=True)
    monkeypatch.setenv("PATH", str(root / "bin"))
    a_script(root / "bin/java", "exit 0")
    return root


def a_script(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_an_emulator_of_the_sdk_is_taken_as_it_is(sdk: Path, tmp_path: Path) -> None:
    a_script(sdk / "bin/gcloud", "exit 1")
    a_script(sdk / FIRESTORE.program, "")
    assert command(FIRESTORE, tmp_path / "cache") == [str(sdk / FIRESTORE.program), "start"]


def test_an_sdk_without_the_emulator_is_asked_to_install_it(sdk: Path, tmp_path: Path) -> None:
    program = sdk / PUBSUB.program
    a_script(sdk / "bin/gcloud", f'/bin/mkdir -p "{program.parent}"; echo "$@" > "{program}"')
    assert command(PUBSUB, tmp_path / "cache") == [str(program)]
    assert program.read_text() == "components install pubsub-emulator --quiet\n"


def test_an_sdk_that_installs_nothing_is_done_without(files: Files, url: str, sdk: Path, tmp_path: Path) -> None:
    a_script(sdk / "bin/gcloud", "exit 1")
    emulator = replace(FIRESTORE, download=a_jar(files, url))
    jar = str(tmp_path / "cache/emulator.jar")
    assert command(emulator, tmp_path / "cache") == ["java", "-Duser.language=en", "-jar", jar]


def test_without_an_sdk_the_emulator_is_fetched(files: Files, url: str, sdk: Path, tmp_path: Path) -> None:
    emulator = replace(PUBSUB, download=a_zip(files, url))
    runner, program = command(emulator, tmp_path / "cache")
    assert runner == "sh"
    assert Path(program).read_text() == "#!/bin/sh\n"


def test_without_java_the_way_out_is_named_and_nothing_is_fetched(sdk: Path, tmp_path: Path) -> None:
    (sdk / "bin/java").unlink()
    with pytest.raises(StartFailed, match=r"Java.*--backend memory") as refused:
        command(FIRESTORE, tmp_path / "cache")
    assert str(refused.value).count(". ") == 0
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("emulator", [FIRESTORE, PUBSUB])
def test_every_download_is_pinned(emulator: Emulator) -> None:
    download = emulator.download
    assert download.url.startswith("https://")
    assert len(bytes.fromhex(download.sha256)) == hashlib.sha256().digest_size
