"""Owns the question whether a gateway answers: `python -m ibkr_actor.sim.health [HOST] PORT`, exit status 0 or 1.

Must not start a session: it greets, reads the answer and goes, so that it takes no client id.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence

from ibkr_actor.sim.settings import MAX_SERVER_VERSION

_GREETING = f"v100..{MAX_SERVER_VERSION}".encode()
_DEADLINE_S = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when a gateway, simulated or not, answers the greeting there; 1 with the reason when it does not."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) not in (1, 2) or not given[-1].isdigit():
        sys.stderr.write("usage: python -m ibkr_actor.sim.health [HOST] PORT\n")
        return 2
    host, port = (given[0] if len(given) == 2 else "127.0.0.1"), int(given[-1])
    try:
        version = server_version(host, port)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{host}:{port}: {error}\n")
        return 1
    sys.stdout.write(f"{host}:{port} answers with server version {version}\n")
    return 0


def server_version(host: str, port: int) -> int:
    """The version that the gateway answers. Raises: OSError, ValueError when the answer is none."""
    with socket.create_connection((host, port), _DEADLINE_S) as connection:
        connection.settimeout(_DEADLINE_S)
        connection.sendall(b"API\0" + len(_GREETING).to_bytes(4, "big") + _GREETING)
        answer = b""
        while len(answer) < 4 or len(answer) < 4 + int.from_bytes(answer[:4], "big"):
            piece = connection.recv(4096)
            if not piece:
                raise ConnectionResetError("hung up on the greeting")
            answer += piece
        return int(answer[4:].partition(b"\0")[0])


if __name__ == "__main__":
    sys.exit(main())
