"""What an installation would write, and the one list of all that is wrong."""

from dataclasses import replace
from pathlib import Path

import pytest

from launcher.installation.files import CREDENTIALS, ENVIRONMENT, SLICE, UNIT, UNITS, write
from launcher.installation.plan import CannotInstall, InstallationPlan, InstallRequest, prepare
from launcher.settings import LauncherSettings
from tests.launcher.installation.hosts import (
    KEY,
    OTHER_KEY,
    PROGRAM,
    PYTHON,
    SETTINGS,
    TOKEN,
    URL,
    HostRoot,
    a_host,
    a_pool,
)
from tests.launcher.tdx_host import write as write_text
from tests.launcher.test_launch import write_image

NOWHERE = "0" * 64


@pytest.fixture
def host(tmp_path: Path) -> HostRoot:
    return a_host(tmp_path / "root")


def planned(request: InstallRequest) -> InstallationPlan:
    return prepare(request, lambda _: None)


def problems(request: InstallRequest) -> tuple[str, ...]:
    with pytest.raises(CannotInstall) as caught:
        planned(request)
    return caught.value.problems


def content(plan: InstallationPlan, path: Path) -> str:
    (file,) = (file for file in plan.files if file.path == path)
    return file.content.decode()


def test_a_new_host_gets_the_example_with_the_pools_settings_in_it_and_none_of_its_made_up_ones(host: HostRoot) -> None:
    plan = planned(host.request())

    settings = content(plan, ENVIRONMENT)
    assert f"LAUNCHYARD_URL={URL}\nLAUNCHYARD_LAUNCHER_KEY={KEY}\n" in settings
    assert "LAUNCHYARD_LAUNCHER_NAME=rack-7-host-1\n" in settings
    assert f"\nGOOGLE_APPLICATION_CREDENTIALS={CREDENTIALS}\nGOOGLE_CLOUD_PROJECT=a-project\n" in settings
    assert "the-launchers-key" not in settings
    assert "\nLAUNCHYARD_IMAGE" not in settings
    assert plan.changed == ()
    assert {"LAUNCHYARD_URL", "LAUNCHYARD_LAUNCHER_KEY"} <= set(plan.added)


def test_whatever_a_file_refers_to_is_written_before_it_and_secrets_are_for_root_alone(host: HostRoot) -> None:
    plan = planned(host.request())

    files = [(file.path, oct(file.mode)) for file in plan.files]
    private, public = oct(0o600), oct(0o644)
    units = [(UNITS / SLICE, public), (UNITS / UNIT, public)]
    assert files == [(CREDENTIALS, private), (ENVIRONMENT, private), *units]


def test_the_unit_starts_the_program_that_was_installed(host: HostRoot) -> None:
    program = Path("/usr/local/lib/launchyard-2/bin/launchyard")
    write_text(host.at(program), "").chmod(0o755)

    unit = content(planned(host.request(program=program)), UNITS / UNIT)

    assert f"\nExecStart={program} launcher run\n" in unit
    assert str(PROGRAM) not in unit


def test_a_second_installation_keeps_what_the_operator_wrote_and_names_what_changes(host: HostRoot) -> None:
    write(host.root, planned(host.request()).files)
    edited = host.settings.replace("LAUNCHYARD_SLOTS=8", "# Two GPUs.\nLAUNCHYARD_SLOTS=2")
    host.at(ENVIRONMENT).write_text(edited)

    plan = planned(host.request(a_pool(DATACENTER="baremetal:rack-8", LABELS="gpu"), key=OTHER_KEY))

    expected = edited.replace("baremetal:rack-7", "baremetal:rack-8").replace(KEY, OTHER_KEY)
    expected = expected.replace("DATACENTER LAUNCHYARD_PROVIDER", "DATACENTER LAUNCHYARD_LABELS LAUNCHYARD_PROVIDER")
    assert content(plan, ENVIRONMENT) == f"{expected}LAUNCHYARD_LABELS=gpu\n"
    assert plan.added == ("LAUNCHYARD_LABELS",)
    assert set(plan.changed) == {"LAUNCHYARD_LAUNCHER_KEY", "LAUNCHYARD_DATACENTER"}


def test_a_second_installation_without_a_key_keeps_the_installed_one(host: HostRoot) -> None:
    write(host.root, planned(host.request()).files)

    plan = planned(host.request(key=None))

    assert (plan.added, plan.changed) == ((), ())
    assert all(file.is_at(host.root) for file in plan.files)


def test_what_the_pools_configuration_no_longer_has_is_removed_and_what_the_operator_set_stays(host: HostRoot) -> None:
    write(host.root, planned(host.request(a_pool(LABELS="gpu"))).files)
    polling = a_pool(None)
    polling["settings"] = {name: value for name, value in SETTINGS.items() if name != "LAUNCHYARD_SUBSCRIPTION"}

    plan = planned(host.request(polling, key=None))

    gone = ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "LAUNCHYARD_LABELS", "LAUNCHYARD_SUBSCRIPTION")
    assert plan.removed == gone
    assert plan.obsolete == (CREDENTIALS,)
    assert (plan.added, plan.changed, plan.notes) == ((), (), ())
    settings = content(plan, ENVIRONMENT)
    assert not any(name in settings.replace("#LAUNCHYARD_LABELS", "") for name in gone)
    assert "LAUNCHYARD_SLOTS=8\n" in settings


def test_credentials_that_an_operator_put_in_place_of_the_pools_stay(host: HostRoot) -> None:
    write(host.root, planned(host.request(a_pool(None))).files)
    host.at(ENVIRONMENT).write_text(f"{host.settings}GOOGLE_APPLICATION_CREDENTIALS={CREDENTIALS}\n")

    plan = planned(host.request(a_pool(None), key=None))

    assert (plan.removed, plan.obsolete) == ((), ())


def test_the_launcher_of_a_pool_without_credentials_is_left_to_the_hosts_own_and_a_note_says_so(host: HostRoot) -> None:
    plan = planned(host.request(a_pool(None)))

    assert CREDENTIALS not in {file.path for file in plan.files}
    assert "GOOGLE_" not in content(plan, ENVIRONMENT)
    (note,) = plan.notes
    assert "Set GOOGLE_APPLICATION_CREDENTIALS in /etc/launchyard/launchyard.env" in note
    assert plan.can_start


def test_a_launcher_of_machines_without_an_image_is_not_started_and_a_note_says_what_is_missing(host: HostRoot) -> None:
    plan = planned(host.request(a_pool(PROVIDER="qemu")))

    assert not plan.can_start
    assert "--image and --image-digest" in plan.notes[0]


def test_an_image_is_checked_and_becomes_a_setting(host: HostRoot) -> None:
    image = Path("/opt/launchyard/images/one")
    host.at(image.parent).mkdir(parents=True)
    digest = write_image(host.at(image))
    request = host.request(a_pool(PROVIDER="qemu"), image=image)

    plan = planned(replace(request, image_digest=digest))

    assert plan.can_start
    assert f"\nLAUNCHYARD_IMAGE={image}\nLAUNCHYARD_IMAGE_DIGEST={digest}\n" in content(plan, ENVIRONMENT)
    (wrong,) = problems(replace(request, image_digest=NOWHERE))
    assert "copy the image again, or correct the digest" in wrong
    (wrong,) = problems(replace(request, image_digest=digest, image=image / "other"))
    assert "cannot be found" in wrong


def test_all_that_is_wrong_is_in_one_list_that_repeats_no_key(host: HostRoot) -> None:
    host.at(ENVIRONMENT).parent.mkdir(parents=True)
    host.at(ENVIRONMENT).write_text("LAUNCHYARD_SLOTS='8\n")

    found = problems(
        host.request(
            a_pool(SLOT="2"),
            name="a name",
            key="a-secret-value",
            program=Path("/home/me/bin/launchyard"),
            image=Path("images"),
        )
    )

    expected = (
        *(
            "--name: it must have",
            "The launcher's key is not one",
            "/home/me/bin/launchyard is in a folder that the unit",
        ),
        *("--image: it must be an absolute", "--image and --image-digest belong together"),
        *("LAUNCHYARD_SLOT: no such setting", "/etc/launchyard/launchyard.env: LAUNCHYARD_SLOTS: its quotation"),
    )
    assert [sentence for sentence in expected if not any(sentence in problem for problem in found)] == []
    assert "a-secret-value" not in "".join(found)


def test_a_setting_with_a_wrong_value_is_named_with_the_file_that_would_have_it(host: HostRoot) -> None:
    found = problems(host.request(a_pool(URL="http://control-plane.example", SLOTS="many")))

    assert [problem.partition("would be wrong: ")[2].partition(":")[0] for problem in found] == [
        "LAUNCHYARD_URL",
        "LAUNCHYARD_SLOTS",
    ]
    assert "it must begin with https://" in found[0]


def test_a_host_without_a_key_is_refused(host: HostRoot) -> None:
    (found,) = problems(host.request(key=None))

    assert "LAUNCHYARD_LAUNCHER_KEY, or pipe it to --key-stdin" in found


def test_a_key_that_is_none_is_told_once_and_not_as_missing(host: HostRoot) -> None:
    (found,) = problems(host.request(key="a-secret-value"))

    assert "`launchyard deploy key`" in found


def test_a_token_that_is_missing_or_hidden_from_the_unit_is_refused(host: HostRoot) -> None:
    pool = a_pool()
    host.at(Path(TOKEN)).unlink()
    (missing,) = problems(host.request(pool))
    pool["credentials"] = {**pool["credentials"], "credential_source": {"file": "/run/user/0/token"}}
    (hidden,) = problems(host.request(pool))

    assert f"credential_source.file {TOKEN} cannot be found" in missing
    assert "/run/user/0/token is in a folder that the unit hides" in hidden


def test_on_the_root_of_a_host_that_does_not_run_yet_nothing_is_looked_for_that_comes_later(host: HostRoot) -> None:
    for path in (Path(TOKEN), PROGRAM, PYTHON):
        host.at(path).unlink()

    assert planned(host.request(running=False)).can_start


def test_the_control_plane_is_asked_only_once_all_else_is_right_and_its_refusal_is_a_problem(host: HostRoot) -> None:
    asked: list[LauncherSettings] = []

    def refuse(settings: LauncherSettings) -> str:
        asked.append(settings)
        return "The key is unknown."

    with pytest.raises(CannotInstall):
        prepare(host.request(name="a name"), refuse)
    assert asked == []

    with pytest.raises(CannotInstall, match="The key is unknown"):
        prepare(host.request(), refuse)
    (settings,) = asked
    assert (settings.url, settings.launcher_name) == (URL, "rack-7-host-1")
    assert settings.launcher_key.get_secret_value() == KEY
