"""Runs in a guest, as a task's command: tries to reach what it is given, and prints what it reached, as JSON.

Its arguments are the number of those that hold this program, and behind them JSON in pieces: lists of pairs of host and
port, those to connect to directly, and those to ask the proxy for. It also asks the control plane, at the address in
its environment, whether it is well.
"""

import json
import os
import socket
import sys
from urllib.parse import urlsplit
from urllib.request import urlopen

PROXY = ("10.0.2.2", 3128)
REFUSED = ("400", "403", "502")
CONNECT_SECONDS = 60


def connects(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def answers(head: str) -> bool:
    """Return whether the proxy carried a request out."""
    try:
        with socket.create_connection(PROXY, CONNECT_SECONDS) as proxy:
            proxy.sendall(f"{head}\r\n\r\n".encode())
            status = proxy.makefile("rb").readline().split()
    except OSError as error:
        raise SystemExit(f"the proxy does not answer: {error}") from error
    return status[1].decode() not in REFUSED


def through_proxy(host: str, port: int) -> list[str]:
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    heads = (f"CONNECT {target} HTTP/1.1", f"GET http://{target}/ HTTP/1.1\r\nHost: {target}")
    return [head.split("\r")[0] for head in heads if answers(head)]


def control_plane() -> int:
    """Return the status of its answer to the address that the worker gives to a task's command."""
    url = urlsplit(os.environ["CALLBACK_URL"])
    with urlopen(f"{url.scheme}://{url.netloc}/v1/health", timeout=CONNECT_SECONDS) as answer:  # noqa: S310 (of the test)
        return int(answer.status)


def main() -> None:
    direct, proxied = json.loads("".join(sys.argv[2 + int(sys.argv[1]) :]))
    reached = {
        "direct": [target for target in direct if connects(*target)],
        "proxied": [line for target in proxied for line in through_proxy(*target)],
        "control plane": control_plane(),
        "tried": len(direct) + 2 * len(proxied),
    }
    sys.stdout.write(json.dumps(reached) + "\n")


if __name__ == "__main__":
    main()
