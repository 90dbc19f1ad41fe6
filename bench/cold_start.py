"""Measures cold starts: `python -m bench.cold_start` prints seconds and memory for each entry point of the bundle.

Each run is a fresh process of the bundle's own environment. It makes functions-framework's application, which imports
the entry point, and then asks it for `/v1/health`, for which it makes its services: clients of Firestore and the rest,
which connect to nothing yet. The floor is a function that only makes a client of Firestore.

A second is one of processor time, from the start of Python on: other load on the machine distorts it less, and nothing
waits. The system has read the files before, and their bytecode is compiled, as in an image that was built.
"""

import json
import statistics
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from emulators.environment import make_environment
from emulators.settings import BackendChoice, StackSettings
from tools.installed_bundle import InstalledBundle, install, services, settings_of

ROUNDS: Final = 3
FLOOR: Final = "floor"
FLOOR_SOURCE: Final = """\
from google.cloud import firestore


def floor(request):
    firestore.Client()
    return "made"
"""
PROGRAM: Final = """\
import json, resource, sys, time
from functions_framework import create_app
app = create_app(*sys.argv[1:])
imported = time.process_time()
answer = app.test_client().get("/v1/health", base_url="http://127.0.0.1")
print(json.dumps({
    "imported": imported,
    "answered": time.process_time(),
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "status": answer.status_code,
}))
"""


def main() -> None:
    table = Table("entry point", "imported, s", "first answer, s", "peak MiB", title=f"Cold starts, median of {ROUNDS}")
    with tempfile.TemporaryDirectory(prefix="launchyard-bundle-") as folder:
        bundle = install(Path(folder))
        floor = Path(folder) / "floor.py"
        floor.write_text(FLOOR_SOURCE)
        measure(bundle, floor, FLOOR)  # compiles what is not compiled yet
        measure(bundle, bundle.main, "everything")
        for target in (FLOOR, *services()):
            source = floor if target == FLOOR else bundle.main
            runs = [measure(bundle, source, target) for _ in range(ROUNDS)]
            middle = {name: statistics.median(run[name] for run in runs) for name in ("imported", "answered", "peak")}
            table.add_row(target, f"{middle['imported']:.2f}", f"{middle['answered']:.2f}", f"{middle['peak']:.0f}")
    Console().print(table)


def measure(bundle: InstalledBundle, source: Path, target: str) -> Mapping[str, Any]:
    """Start the entry point in a process of its own. `imported` and `answered` are in seconds, `peak` is in MiB."""
    argv = [str(bundle.python), "-I", "-c", PROGRAM, target, str(source)]
    done = subprocess.run(argv, env=environment(target), capture_output=True, text=True, check=True)
    run: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])  # below what the function logs
    if run["status"] != 200:
        raise RuntimeError(f"{target} answered with {run['status']}: {done.stderr}")
    return run


def environment(target: str) -> dict[str, str]:
    values = make_environment(StackSettings(backend=BackendChoice.GOOGLE))
    emulators = {name: value for name, value in values.items() if name.endswith("_EMULATOR_HOST")}
    own = {} if target == FLOOR else settings_of(target, values)
    return {"GOOGLE_CLOUD_PROJECT": values["GOOGLE_CLOUD_PROJECT"], "FUNCTION_TARGET": target, **emulators, **own}


if __name__ == "__main__":
    main()
