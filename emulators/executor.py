"""The local stack's test executor: stands in for an agent, and does what the prompt's lines say.

It needs nothing but Python, in the guest too: the launcher's setting is `python3 -c <this file>`. Lines that it knows:

    sleep SECONDS      wait
    exit CODE          end with that exit code
    write FILE TEXT    write a file of the session's directory

It prints every line.
"""

import json
import sys
import time
from pathlib import Path


def main() -> None:
    request = json.load(sys.stdin)
    write_line(f"test executor: {request['mode']} {request['session_name']}")
    for line in request["prompt"].splitlines():
        write_line(line)
        obey(line.split(maxsplit=2))


def write_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def obey(words: list[str]) -> None:
    match words:
        case ["sleep", seconds]:
            time.sleep(float(seconds))
        case ["exit", code]:
            sys.exit(int(code))
        case ["write", file, text]:
            Path(file).write_text(f"{text}\n")


if __name__ == "__main__":
    main()
