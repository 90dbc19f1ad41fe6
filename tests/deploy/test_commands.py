"""`launchyard deploy check`, with the credentials that Google's libraries find."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner, Result

from deploy.commands import app
from tests.deploy.conftest import Live
from tests.deploy.whole import FUNCTIONS, HIDDEN, JOB, POOL, PROJECT, REGION
from tests.harness.google_project.api import TOKEN

pytestmark = pytest.mark.infra


@pytest.fixture(scope="session")
def private_key() -> str:
    key = generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture
def operator(live: Live, private_key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Live:
    """A live project, and this machine's credentials for it."""
    credentials = {
        "type": "service_account",
        "client_email": "operator@example.com",
        "token_uri": f"{live.url}/token",
        "private_key": private_key,
    }
    file = tmp_path / "credentials.json"
    file.write_text(json.dumps(credentials))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    monkeypatch.setenv("LAUNCHYARD_GOOGLE_ENDPOINT", live.url)
    return live


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["check", "--project", PROJECT, "--region", REGION, *words], env={"COLUMNS": "200"})


def test_a_whole_project_exits_with_0(operator: Live) -> None:
    done = run()

    assert (done.exit_code, done.stderr) == (0, "")
    assert "things are there" in done.stdout


def test_a_fault_exits_with_1_and_shows_the_next_step(operator: Live) -> None:
    operator.resources.documents[JOB]["state"] = "PAUSED"

    done = run()

    assert done.exit_code == 1
    assert "schedule launchyard-sweep: its state is PAUSED" in done.stdout
    assert "to do: gcloud scheduler jobs resume launchyard-sweep --location=us-central1" in done.stdout
    assert done.stdout.rstrip().endswith("1 wrong.")


def test_a_next_step_that_many_faults_share_is_shown_once_below_them(operator: Live) -> None:
    for path in [path for path in operator.resources.documents if "/indexes/" in path]:
        del operator.resources.documents[path]

    lines = run().stdout.splitlines()

    faults = [number for number, line in enumerate(lines) if line.startswith("index ") and "is not there" in line]
    assert len(faults) > 20
    assert faults == list(range(faults[0], faults[0] + len(faults)))
    assert lines[faults[-1] + 1 :].count("  to do: terraform apply") == 1


def test_json_is_all_that_standard_output_has(operator: Live) -> None:
    operator.resources.documents[JOB]["state"] = "PAUSED"
    operator.behaviour.failing["pubsub/"] = (503, 1)  # the library that repeats a request logs that

    done = run("--json")

    document = json.loads(done.stdout)
    assert (done.exit_code, document["complete"]) == (1, False)
    assert [row["name"] for row in document["rows"] if row["verdict"] != "ok"] == ["launchyard-sweep"]


def test_outputs_name_the_pools_that_lack_their_subscription_but_not_those_that_poll(
    operator: Live, tmp_path: Path
) -> None:
    polling: dict[str, Any] = {"settings": {"LAUNCHYARD_URL": operator.address}, "credentials": None}
    keyed = {**polling, "credentials": {"type": "service_account", "private_key_id": "0123abcd"}}
    pools = {POOL: keyed, "rack-8": keyed, "rack-9": polling}
    outputs = {"launcher_config": {"sensitive": False, "type": "object", "value": pools}}
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps(outputs))

    done = run("--outputs", str(file), "--json")

    lacking = {row["name"] for row in json.loads(done.stdout)["rows"] if row["verdict"] == "missing"}
    assert lacking == {"launchyard-pool-rack-8", f"ly-pool-rack-8@{PROJECT}.iam.gserviceaccount.com"}


@pytest.mark.parametrize("text", ["", "[]", '{"url": "https://example.com"}', '{"url": {"value": 7}}'])
def test_a_file_that_terraform_did_not_write_is_refused(operator: Live, tmp_path: Path, text: str) -> None:
    file = tmp_path / "outputs.json"
    file.write_text(text)

    done = run("--outputs", str(file))

    assert (done.exit_code, done.stdout) == (2, "")
    assert "outputs.json" in done.stderr


def test_without_credentials_it_says_how_to_get_some(
    operator: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")

    done = run()

    assert (done.exit_code, done.stdout) == (2, "")
    assert "gcloud auth application-default login" in done.stderr
    assert operator.fake.asked == []


def test_no_value_of_a_setting_and_no_credential_is_shown(operator: Live) -> None:
    for service in ("everything", "sweep"):
        config = operator.resources.documents[f"{FUNCTIONS}/launchyard-{service}"]["serviceConfig"]
        config["environmentVariables"]["LAUNCHYARD_CALLBACK_SECRET"] = HIDDEN
        config["environmentVariables"]["LAUNCHYARD_TYPO"] = HIDDEN

    shown = [run(), run("--json")]

    assert all(done.exit_code == 1 and "LAUNCHYARD_CALLBACK_SECRET" in done.stdout for done in shown)
    assert all(HIDDEN not in done.output and TOKEN not in done.output for done in shown)
