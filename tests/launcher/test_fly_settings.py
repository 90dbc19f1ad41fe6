"""The settings of the provider `fly`: by our names, by the contracts', and by default."""

import pytest
from pydantic import SecretStr, ValidationError

from launcher.providers.fly.options import FlyGuest, FlyOptions
from launcher.providers.fly.settings import FlySettings
from launcher.settings import LauncherSettings, read
from shared.domain.spec import OrderKind
from shared.settings import SettingsWrong
from tests.launcher.fly.machines import OWNER

TOKEN = SecretStr("a-token")
NEEDED = {
    "LAUNCHYARD_URL": "https://control-plane.example",
    "LAUNCHYARD_LAUNCHER_KEY": "ly_key",
    "LAUNCHYARD_PROVIDERS": "fly",
}


def actual(**environment: str) -> FlySettings:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return FlySettings()


def test_the_defaults_are_the_contracts() -> None:
    options = actual().fly_options("an-app", TOKEN, OWNER)
    assert options == FlyOptions(app="an-app", token=TOKEN, owner=OWNER)
    assert options.sizes == {OrderKind.EXPORT: FlyGuest("shared", 2, 1024), OrderKind.TASK: FlyGuest("shared", 1, 512)}
    assert (options.endpoint, options.region) == ("https://api.machines.dev", "ord")


def test_the_contracts_names_are_taken_and_ours_win() -> None:
    settings = actual(FLY_API_TOKEN="theirs", FLY_WORKER_APP="descartes-workers")
    assert settings.fly_app == "descartes-workers"
    assert settings.fly_api_token == SecretStr("theirs")
    both = actual(FLY_API_TOKEN="theirs", LAUNCHYARD_FLY_API_TOKEN="ours", LAUNCHYARD_FLY_OWN_IMAGES="a:1, b:2")
    assert both.fly_api_token == SecretStr("ours")
    assert both.fly_own_images == ("a:1", "b:2")


@pytest.mark.parametrize(
    ("name", "value"),
    [("FLY_REGION", "chicago"), ("FLY_TASK_MEMORY_MB", "500"), ("FLY_CPU_KIND", "fast"), ("FLY_APP", "An App")],
)
def test_settings_that_fly_would_refuse_are_refused_at_the_start(name: str, value: str) -> None:
    with pytest.raises(ValidationError):
        actual(**{f"LAUNCHYARD_{name}": value})


def launcher_settings(**environment: str) -> LauncherSettings:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (NEEDED | environment).items():
            patch.setenv(name, value)
        return read({})


@pytest.mark.parametrize(
    ("given", "missing"),
    [({"FLY_API_TOKEN": "a-token"}, "LAUNCHYARD_FLY_APP"), ({"FLY_WORKER_APP": "app"}, "LAUNCHYARD_FLY_API_TOKEN")],
)
def test_a_launcher_for_fly_needs_an_app_and_a_token(given: dict[str, str], missing: str) -> None:
    with pytest.raises(SettingsWrong, match=f"the provider fly needs {missing}"):
        launcher_settings(**given)


def test_a_launcher_for_fly_alone_needs_no_image_of_a_guest() -> None:
    settings = launcher_settings(FLY_API_TOKEN="a-token", FLY_WORKER_APP="app")
    assert "a-token" not in repr(settings)
