"""The settings in the environment, and the errors if some are missing or wrong."""

import json
from typing import cast

import pytest

from functions.apis import APIS, EVERYTHING, SERVICES
from functions.apis.capacity.settings import CapacitySettings
from functions.assembly import once
from functions.domain.access import Role
from functions.domain.refusals import Malformed
from functions.engine.trust import Image, Nonces, Tcb, Trust
from functions.ports.attestation import Appraiser
from functions.settings import (
    AllSettings,
    AttestationSettings,
    Backend,
    DatabaseSettings,
    DoorbellSettings,
    TrustAuthoritySettings,
    read_settings,
)
from functions.wiring.makers import plan_for
from tests.functions.world import SECRET

MINIMAL = {
    "LAUNCHYARD_BACKEND": "memory",
    "LAUNCHYARD_BUCKET": "s3://outputs",
    "LAUNCHYARD_URL": "http://127.0.0.1:8080",
    "LAUNCHYARD_CALLBACK_SECRET": SECRET,
}


def read(function: str = "everything") -> AllSettings:
    """Return the settings of a function, as its process reads them."""
    return read_settings(plan_for(APIS, SERVICES.get(function, EVERYTHING)).settings, function)


def given(settings: pytest.MonkeyPatch, **environment: str) -> None:
    for name, value in environment.items():
        settings.setenv(name, value)


def test_the_defaults_are_googles(settings: pytest.MonkeyPatch) -> None:
    given(settings, **{**MINIMAL, "LAUNCHYARD_BACKEND": "", "GOOGLE_CLOUD_PROJECT": "a-project"})

    database, doorbell = read().of(DatabaseSettings), read().of(DoorbellSettings)

    assert (database.backend, database.project) == (Backend.GOOGLE, "a-project")
    assert (database.database, doorbell.topic) == ("(default)", "launchyard-doorbell")


def test_the_memory_backend_can_be_seeded_with_keys(settings: pytest.MonkeyPatch) -> None:
    keys = [{"digest": "0" * 64, "role": "launcher", "account": "rack"}]
    given(settings, **MINIMAL, LAUNCHYARD_KEYS=json.dumps(keys))

    assert [seeded.key().role for seeded in read().of(DatabaseSettings).keys] == [Role.LAUNCHER]


def test_the_contracts_default_pool_exists_only_if_it_is_switched_on(
    settings: pytest.MonkeyPatch,
) -> None:
    def default_pool() -> tuple[bool, str, int]:
        settings = read().of(CapacitySettings)
        return settings.default_pool, settings.default_pool_datacenter, settings.default_pool_count

    given(settings, **MINIMAL)
    assert default_pool() == (False, "gcp:us-central1-a", 1)
    given(settings, DEFAULT_GCP_TINY_ENABLED="true")
    assert default_pool() == (True, "gcp:us-central1-a", 1)
    given(settings, DEFAULT_GCP_TINY_DATACENTER="Google:europe-west4-b", DEFAULT_GCP_TINY_MIN_WARM_COUNT="3")
    assert default_pool() == (True, "gcp:europe-west4-b", 3)


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
        read()

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
        read()

    said = capsys.readouterr().err
    assert "LAUNCHYARD_KEYS" in said
    assert "LAUNCHYARD_BUCKET" in said


def test_seeded_keys_are_refused_with_the_google_backend(
    settings: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [{"digest": "0" * 64, "role": "admin", "account": "me"}]
    given(settings, **{**MINIMAL, "LAUNCHYARD_BACKEND": "google"}, LAUNCHYARD_KEYS=json.dumps(keys))

    with pytest.raises(SystemExit):
        read()

    assert "Only for the memory backend" in capsys.readouterr().err


def test_secrets_do_not_show_in_settings(settings: pytest.MonkeyPatch) -> None:
    given(
        settings, **MINIMAL, LAUNCHYARD_S3_ACCESS_KEY_ID="id", LAUNCHYARD_S3_SECRET_ACCESS_KEY="the-secret-access-key"
    )

    shown = repr(read())

    assert SECRET not in shown
    assert "the-secret-access-key" not in shown


def test_services_are_made_once() -> None:
    services = once(lambda: {object: object()})

    assert services() is services()


def test_images_are_trusted_by_their_measurements(settings: pytest.MonkeyPatch) -> None:
    trusted = [{"mrtd": "AB" * 48, "type": "agent", "rtmrs": {"1": "0c" * 48}}, {"mrtd": "cd" * 48, "type": "proxy"}]
    given(settings, **MINIMAL, LAUNCHYARD_TRUSTED_MRTDS=json.dumps(trusted), LAUNCHYARD_ITA_API_KEY="the-ita-key")

    assert [one.image() for one in read().of(AttestationSettings).trusted_images] == [
        Image("ab" * 48, "agent", {1: "0c" * 48}),
        Image("cd" * 48, "proxy"),
    ]
    assert "the-ita-key" not in repr(read())


def test_attestation_is_strict_by_default(settings: pytest.MonkeyPatch) -> None:
    given(settings, **MINIMAL)

    policy, authority = read().of(AttestationSettings), read().of(TrustAuthoritySettings)

    assert (policy.trusted_images, policy.tcb, policy.nonces) == ((), Tcb.STRICT, Nonces.OPTIONAL)
    assert authority.ita_api_key is None
    assert authority.ita_api == "https://api.trustauthority.intel.com"
    assert authority.ita_certs == "https://portal.trustauthority.intel.com/certs"


@pytest.mark.parametrize(
    "image",
    [{"mrtd": "ab", "type": "agent"}, {"mrtd": "ab" * 48}, {"mrtd": "ab" * 48, "type": "agent", "rtmrs": {"4": ""}}],
)
def test_an_image_that_is_not_whole_is_an_error(
    settings: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], image: dict[str, object]
) -> None:
    given(settings, **MINIMAL, LAUNCHYARD_TRUSTED_MRTDS=json.dumps([image]), TCB_ENFORCEMENT_MODE="lax")

    with pytest.raises(SystemExit):
        read()

    said = capsys.readouterr().err
    assert "  LAUNCHYARD_TRUSTED_MRTDS.0." in said
    assert "  TCB_ENFORCEMENT_MODE: " in said


def test_the_control_plane_is_wired_to_intels_trust_authority_without_asking_it(settings: pytest.MonkeyPatch) -> None:
    given(settings, **MINIMAL, LAUNCHYARD_TRUSTED_MRTDS=json.dumps([{"mrtd": "ab" * 48, "type": "agent"}]))
    settings.setenv("NONCE_ENFORCEMENT_MODE", "required")

    made = plan_for(APIS, SERVICES["capacity"]).make(read("capacity").by_type)

    assert made[Trust] == Trust([Image("ab" * 48, "agent")], Tcb.STRICT, Nonces.REQUIRED)
    with pytest.raises(Malformed, match="intel_ta_token is missing"):
        cast("Appraiser", made[Appraiser]).appraise("AAAA")


def test_a_function_needs_only_the_settings_of_what_it_uses(
    settings: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given(settings, LAUNCHYARD_BACKEND="memory", LAUNCHYARD_URL="https://control-plane.test")

    assert read("jobs").of(DatabaseSettings).backend is Backend.MEMORY
    for function, missing in {
        "claim": {"LAUNCHYARD_CALLBACK_SECRET"},
        "orders": {"LAUNCHYARD_BUCKET"},
        "sweep": {"LAUNCHYARD_BUCKET"},
        "update": {"LAUNCHYARD_BUCKET", "LAUNCHYARD_CALLBACK_SECRET"},
        "everything": {"LAUNCHYARD_BUCKET", "LAUNCHYARD_CALLBACK_SECRET"},
    }.items():
        with pytest.raises(SystemExit) as ended:
            read(function)
        first, *lines = capsys.readouterr().err.splitlines()
        assert ended.value.code == 2
        assert first == f"These settings of the function {function} are wrong:"
        assert {line.split(":")[0].strip() for line in lines} == missing


def test_a_wrong_setting_that_a_function_does_not_use_does_not_stop_it(settings: pytest.MonkeyPatch) -> None:
    given(settings, **MINIMAL, LAUNCHYARD_ADMIN_PASSWORD="short", LAUNCHYARD_TRUSTED_MRTDS="nonsense")

    assert read("claim").of(DatabaseSettings).backend is Backend.MEMORY


def test_a_setting_that_two_parts_read_is_reported_once(
    settings: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given(settings, **MINIMAL, THREADS="none")

    with pytest.raises(SystemExit):
        read("claim")

    assert capsys.readouterr().err.count("THREADS") == 1
