"""What a `launchyard` command loads before it does anything."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOADED = "import sys; from cli.main import build; build(); print(*sys.modules)"


def test_a_command_loads_no_clouds_libraries_before_it_needs_them() -> None:
    said = subprocess.run([sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    loaded = set(said.split())
    assert "emulators.commands" in loaded
    assert not loaded & {"boto3", "botocore", "google.cloud.firestore", "google.cloud.pubsub_v1", "grpc"}
