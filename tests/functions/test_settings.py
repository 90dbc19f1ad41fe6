"""What the environment may say, and what it is told where it says too little."""

import json

import pytest

from functions.capacity.parts import DefaultPool
from functions.settings import Backend, Settings
from functions.wiring import build, once
from shared.domain.access import Role
from shared.domain.spec import NodeSize
from tests.functions.world import SECRET, Bells, Clock, an_app

MINIMAL = {
    "LAUNCHYARD_BACKEND": "memory",
    "LAUNCHYARD_BUCKET": "s3://outputs",
    "LAUNCHYARD_CALLBACK_SECRET": SECRET,
}


def given(settings: pytest.MonkeyPatch, **environment: str) -> None:
    for name, value in environment.items():
        settings.setenv(name, value)


def test_the_defaults_are_googles(settings: pytest.MonkeyPatch) -> None:
    given(settings, **{**MINIMAL, "LAUNCHYARD_BACKEND": "", "GOOGLE_CLOUD_PROJECT": "a-project"})

    read = Settings.read()

    assert (read.backend, read.project) == (Backend.GOOGLE, "a-project")
    assert (read.database, read.topic) == ("(default)", "launchyard-doorbell")


def test_the_memory_backend_can_be_seeded_with_keys(settings: pytest.MonkeyPatch) -> None:
    keys = [{"digest": "0" * 64, "role": "launcher", "account": "rack"}]
    given(settings, **MINIMAL, LAUNCHYARD_KEYS=json.dumps(keys))

    assert [seeded.key().role for seeded in Settings.read().keys] == [Role.LAUNCHER]


def test_there_is_no_default_pool_where_none_is_wanted_and_the_contracts_where_one_is(
    settings: pytest.MonkeyPatch,
) -> None:
    given(settings, **MINIMAL)
    assert build(Settings.read()).capacity.default_pool is None
    given(settings, DEFAULT_GCP_TINY_ENABLED="true")
    assert build(Settings.read()).capacity.default_pool == DefaultPool("gcp:us-central1-a", NodeSize.TINY, 1)
    given(settings, DEFAULT_GCP_TINY_DATACENTER="Google:europe-west4-b", DEFAULT_GCP_TINY_MIN_WARM_COUNT="3")
    assert build(Settings.read()).capacity.default_pool == DefaultPool("gcp:europe-west4-b", NodeSize.TINY, 3)


def test_every_error_is_reported_at_once(settings: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    given(
        settings,
        LAUNCHYARD_BUCKET="ftp://outputs",
        LAUNCHYARD_CALLBACK_SECRET="too-short-secret",
        LAUNCHYARD_S3_ENDPOINT="nonsense",
        LAUNCHYARD_S3_ACCESS_KEY_ID="alone",
        LAUNCHYARD_KEYS='[{"digest": "short", "role": "king", "account": ""}]',
    )

    with pytest.raises(SystemExit) as ended:
        Settings.read()

    said = capsys.readouterr().err
    assert ended.value.code == 2
    for name in (
        "GOOGLE_CLOUD_PROJECT",
        "LAUNCHYARD_BUCKET",
        "LAUNCHYARD_CALLBACK_SECRET",
        "LAUNCHYARD_S3_ENDPOINT",
        "LAUNCHYARD_S3_SECRET_ACCESS_KEY",
        "LAUNCHYARD_KEYS.0.digest",
        "LAUNCHYARD_KEYS.0.role",
        "LAUNCHYARD_KEYS.0.account",
    ):
        assert f"  {name}: " in said
    assert "too-short-secret" not in said


@pytest.mark.parametrize("keys", ["nonsense", "{}", "7", '["x"]'])
def test_keys_that_are_no_list_are_an_error_like_any_other(
    settings: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], keys: str
) -> None:
    given(settings, LAUNCHYARD_BACKEND="memory", LAUNCHYARD_KEYS=keys)

    with pytest.raises(SystemExit):
        Settings.read()

    said = capsys.readouterr().err
    assert "LAUNCHYARD_KEYS" in said
    assert "LAUNCHYARD_BUCKET" in said


def test_keys_are_not_seeded_where_firestore_has_them(
    settings: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [{"digest": "0" * 64, "role": "admin", "account": "me"}]
    given(settings, **{**MINIMAL, "LAUNCHYARD_BACKEND": "google"}, LAUNCHYARD_KEYS=json.dumps(keys))

    with pytest.raises(SystemExit):
        Settings.read()

    assert "Only for the memory backend" in capsys.readouterr().err


def test_secrets_do_not_show_in_settings(settings: pytest.MonkeyPatch) -> None:
    given(
        settings, **MINIMAL, LAUNCHYARD_S3_ACCESS_KEY_ID="id", LAUNCHYARD_S3_SECRET_ACCESS_KEY="the-secret-access-key"
    )

    shown = repr(Settings.read())

    assert SECRET not in shown
    assert "the-secret-access-key" not in shown


def test_an_app_is_made_once() -> None:
    app = once(lambda: an_app(Clock(), Bells()))

    assert app() is app()
