"""Checks of what agents' sessions need if they run as processes of this host."""

import os
import shutil

from launcher.host.checks.host import Case, Finding


def executor(case: Case) -> Finding:
    """Check that the executor's program is there, where a session would look for it."""
    program = case.executor[0] if case.executor else ""
    found = shutil.which(program, path=os.defpath)  # the PATH of the machines' processes: start.py
    return Finding(
        met=not program or found is not None,
        found=("none is configured" if not program else found or f"{program} is not there, or cannot be executed"),
        needed="the program of LAUNCHYARD_EXECUTOR, by its path or a name in /bin or /usr/bin, executable",
        to_do="install it, make it executable (chmod +x), or correct LAUNCHYARD_EXECUTOR",
    )


def project_directories(case: Case) -> Finding:
    """Check that every directory exists that sessions may run in."""
    missing = [str(path) for path in case.project_dirs if not path.is_dir()]
    every = ", ".join(map(str, case.project_dirs)) or "none is configured"
    return Finding(
        met=not missing,
        found=f"no directory: {', '.join(missing)}" if missing else every,
        needed="the directories of LAUNCHYARD_PROJECT_DIR and LAUNCHYARD_PROJECT_DIRS",
        to_do="make them, or correct the settings",
    )
