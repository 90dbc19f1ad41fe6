"""The emulators are found, installed or fetched. The downloads come from the test's own server."""

import hashlib
import io
import socket
import stat
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

import httpx
import pytest
import stamina
from rich.console import Console
from werkzeug import Request, Response

from emulators.fetch import ATTEMPTS, RemoteFile, Unobtainable, fetch
from emulators.google import (
    FIRESTORE,
    JAVA_OPTIONS,
    PUBSUB,
    SHORT_LIVED,
    Emulator,
    command,
    require_within_reach,
    start_firestore,
)
from emulators.ports import free_port
from emulators.processes import LOOPBACK, StartFailed
from emulators.progress import progress
from emulators.serving import serving

JAR: Final = b"the bytes of a program"


class Files:
    """A static server that notes what it was asked for, and can break off, know no ranges, or refuse."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.served: list[str] = []
        self.asked_from: list[int] = []
        self.breaks_off: list[int] = []
        """After how many bytes each of the next answers ends."""
        self.refusals: list[int] = []
        """The statuses of the next answers."""
        self.knows_ranges = True

    def answer(self, request: Request) -> Response:
        if request.method == "HEAD":
            return Response(status=200 if request.path in self.contents else 404)
        self.served.append(request.path)
        content = self.contents.get(request.path)
        if content is None:
            return Response(status=404)
        if self.refusals:
            return Response(status=self.refusals.pop(0))
        start = request.range.ranges[0][0] if request.range and self.knows_ranges else 0
        self.asked_from.append(start)
        if start >= len(content):
            return Response(status=416)
        rest = content[start:]
        sent = rest[: self.breaks_off.pop(0)] if self.breaks_off else rest
        response = Response([sent], status=206 if start else 200)
        response.headers["Content-Length"] = str(len(rest))
        return response


@pytest.fixture(autouse=True)
def no_waits() -> Iterator[None]:
    with stamina.set_testing(True, attempts=ATTEMPTS):
        yield


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def url(files: Files) -> Iterator[str]:
    with serving(Request.application(files.answer)) as base:
        yield base


def a_jar(files: Files, url: str, content: bytes = JAR) -> RemoteFile:
    files.contents["/emulator.jar"] = content
    return RemoteFile(f"{url}/emulator.jar", hashlib.sha256(JAR).hexdigest(), "emulator.jar")


def a_zip(files: Files, url: str) -> RemoteFile:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("emulator/bin/run", "#!/bin/sh\n")
        archive.writestr("emulator/lib/emulator.jar", JAR)
    files.contents["/emulator.zip"] = packed.getvalue()
    return RemoteFile(f"{url}/emulator.zip", hashlib.sha256(packed.getvalue()).hexdigest(), "emulator/bin/run")


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
def test_a_download_that_cannot_be_fetched_is_named(
    files: Files, url: str, tmp_path: Path, missing: str | None
) -> None:
    where = f"{url}{missing}" if missing else f"http://{LOOPBACK}:{free_port()}/other.jar"
    with pytest.raises(StartFailed, match=r"other\.jar"):
        fetch(RemoteFile(where, "0" * 64, "other.jar"), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("breaks_off", [[5], [5, 3, 1]])
def test_an_interrupted_download_is_resumed(files: Files, url: str, tmp_path: Path, breaks_off: list[int]) -> None:
    download = a_jar(files, url)
    files.breaks_off = list(breaks_off)
    assert fetch(download, tmp_path).read_bytes() == JAR
    assert files.asked_from == [sum(breaks_off[:count]) for count in range(len(breaks_off) + 1)]


def test_a_download_that_always_breaks_off_is_given_up_and_resumed_the_next_time(
    files: Files, url: str, tmp_path: Path
) -> None:
    download = a_jar(files, url)
    files.breaks_off = [1] * ATTEMPTS
    with pytest.raises(Unobtainable, match=r"emulator\.jar cannot be fetched"):
        fetch(download, tmp_path)
    assert len(files.served) == ATTEMPTS
    assert fetch(download, tmp_path).read_bytes() == JAR
    assert files.asked_from[-1] == ATTEMPTS
    assert [file.name for file in tmp_path.iterdir()] == ["emulator.jar"]


def test_a_server_without_ranges_sends_it_all_again(files: Files, url: str, tmp_path: Path) -> None:
    files.knows_ranges = False
    download = a_jar(files, url)
    files.breaks_off = [5]
    assert fetch(download, tmp_path).read_bytes() == JAR


@pytest.mark.parametrize("left", [b"of another file", JAR + b" and more"])
def test_a_partial_file_of_an_earlier_run_is_discarded_if_it_does_not_match(
    files: Files, url: str, tmp_path: Path, left: bytes
) -> None:
    download = a_jar(files, url)
    partial_of(download, tmp_path).write_bytes(left)
    assert fetch(download, tmp_path).read_bytes() == JAR


def test_a_download_that_was_whole_when_its_process_ended_is_kept(files: Files, url: str, tmp_path: Path) -> None:
    download = a_jar(files, url)
    partial_of(download, tmp_path).write_bytes(JAR)
    assert fetch(download, tmp_path).read_bytes() == JAR
    assert files.asked_from == [len(JAR)]


def test_a_server_that_is_overloaded_for_a_moment_is_asked_again(files: Files, url: str, tmp_path: Path) -> None:
    download = a_jar(files, url)
    files.refusals = [503, 429]
    assert fetch(download, tmp_path).read_bytes() == JAR


@pytest.mark.parametrize("status", [302, 403, 410])
def test_a_refusal_is_final(files: Files, url: str, tmp_path: Path, status: int) -> None:
    download = a_jar(files, url)
    files.refusals = [status]
    with pytest.raises(Unobtainable, match=str(status)):
        fetch(download, tmp_path)
    assert len(files.served) == 1


def test_a_server_that_never_answers_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emulators.fetch.TIMEOUT", httpx.Timeout(0.2))
    with socket.socket() as silent:
        silent.bind((LOOPBACK, 0))
        silent.listen()
        silent.settimeout(0)
        where = f"http://{LOOPBACK}:{silent.getsockname()[1]}/emulator.jar"
        with pytest.raises(Unobtainable, match="no answer in time"):
            fetch(RemoteFile(where, "0" * 64, "emulator.jar"), tmp_path)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_of_two_that_fetch_at_once_one_does_and_the_other_waits(files: Files, url: str, tmp_path: Path) -> None:
    download = a_zip(files, url)
    with ThreadPoolExecutor(4) as pool:
        programs = list(pool.map(lambda _: fetch(download, tmp_path), range(4)))
    assert len(set(programs)) == 1
    assert files.served == ["/emulator.zip"]


def test_a_cache_that_cannot_be_written_is_named(files: Files, url: str, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(Unobtainable, match=r"cannot be kept in .*/cache: File exists"):
        fetch(a_jar(files, url), tmp_path / "cache")


@pytest.mark.parametrize("terminal", ["", "dumb"])
def test_progress_is_a_line_now_and_then_without_a_terminal_that_can_redraw_it(
    terminal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", terminal)
    ticks = iter([0.0, 1.0, 6.0, 6.0, 7.0, 12.0, 12.0])
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=bool(terminal), color_system=None, width=120)
    with progress("emulator.jar", console, lambda: next(ticks)) as on_progress:
        for there in (1, 2_000_000, 3_000_000):
            on_progress(there, 4_000_000)
        on_progress(5_000_000, None)
    assert screen.getvalue().splitlines() == ["emulator.jar: 2.0 of 4.0 MB, 50 %", "emulator.jar: 5.0 MB"]


def test_progress_shows_bytes_and_percent_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen = io.StringIO()
    with progress("emulator.jar", Console(file=screen, force_terminal=True, width=120)) as on_progress:
        on_progress(2_000_000, 4_000_000)
    assert "2.0/4.0 MB" in screen.getvalue()
    assert "50%" in screen.getvalue()


def partial_of(download: RemoteFile, cache: Path) -> Path:
    return cache / f"{download.file_name}.{download.sha256[:12]}.part"


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


def test_an_sdk_without_the_emulator_is_asked_to_install_it(
    files: Files, url: str, sdk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    emulator = replace(PUBSUB, download=a_zip(files, url))
    program = sdk / emulator.program
    a_script(sdk / "bin/gcloud", f'/bin/mkdir -p "{program.parent}"; echo "$@" > "{program}"')
    assert command(emulator, tmp_path / "cache") == [str(program)]
    assert program.read_text() == "components install pubsub-emulator --quiet\n"
    assert "gcloud components install pubsub-emulator --quiet`, which may take minutes" in capfd.readouterr().err


def test_an_sdk_is_not_asked_to_install_if_its_downloads_are_out_of_reach(sdk: Path, tmp_path: Path) -> None:
    a_script(sdk / "bin/gcloud", f'/bin/touch "{tmp_path}/asked"')
    nowhere = RemoteFile(f"http://{LOOPBACK}:{free_port()}/emulator.jar", "0" * 64, "emulator.jar")
    with pytest.raises(Unobtainable, match=r"emulator\.jar cannot be fetched"):
        command(replace(PUBSUB, download=nowhere), tmp_path / "cache")
    assert not (tmp_path / "asked").exists()


def test_an_sdk_is_not_asked_for_what_was_downloaded_before(files: Files, url: str, sdk: Path, tmp_path: Path) -> None:
    emulator = replace(FIRESTORE, download=a_jar(files, url))
    fetch(emulator.download, tmp_path / "cache")
    a_script(sdk / "bin/gcloud", f'/bin/touch "{tmp_path}/asked"')
    assert command(emulator, tmp_path / "cache")[-1] == str(tmp_path / "cache/emulator.jar")
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize("here", [True, False])
def test_whether_the_files_can_be_had_is_asked_without_fetching_them(
    files: Files, url: str, sdk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: bool
) -> None:
    (sdk / "bin/java").unlink()  # it is installed if they can be had
    nowhere = RemoteFile(f"http://{LOOPBACK}:{free_port()}/emulator.jar", "0" * 64, "emulator.jar")
    monkeypatch.setattr("emulators.google.FIRESTORE", replace(FIRESTORE, download=a_jar(files, url)))
    monkeypatch.setattr("emulators.google.PUBSUB", replace(PUBSUB, download=a_zip(files, url) if here else nowhere))
    if here:
        require_within_reach(tmp_path / "cache")
    else:
        with pytest.raises(Unobtainable):
            require_within_reach(tmp_path / "cache")
    assert files.served == []


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


def test_without_java_what_to_install_is_named_and_nothing_is_fetched(sdk: Path, tmp_path: Path) -> None:
    (sdk / "bin/java").unlink()
    with pytest.raises(Unobtainable, match=r"Java, which is not installed.*default-jre-headless"):
        command(FIRESTORE, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("of_the_user", [None, *JAVA_OPTIONS])
def test_an_emulator_gets_options_of_ours_only_if_the_user_has_set_none(
    sdk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_the_user: str | None
) -> None:
    """Java does not start with options that choose two garbage collectors."""
    for name in JAVA_OPTIONS:
        monkeypatch.delenv(name, raising=False)
    if of_the_user is not None:
        monkeypatch.setenv(of_the_user, "-XX:+UseG1GC")
    a_script(sdk / "bin/gcloud", "exit 1")
    a_script(sdk / FIRESTORE.program, 'echo "$JAVA_TOOL_OPTIONS$JDK_JAVA_OPTIONS$_JAVA_OPTIONS"; exit 1')

    with pytest.raises(StartFailed):
        start_firestore(free_port(), tmp_path / "logs", tmp_path / "cache")

    options = (tmp_path / "logs/firestore.log").read_text().strip()
    assert options == (SHORT_LIVED if of_the_user is None else "-XX:+UseG1GC")


@pytest.mark.parametrize("emulator", [FIRESTORE, PUBSUB])
def test_every_download_is_pinned(emulator: Emulator) -> None:
    download = emulator.download
    assert download.url.startswith("https://")
    assert len(bytes.fromhex(download.sha256)) == hashlib.sha256().digest_size
