"""The last resort where no Redis server can be had: fakeredis' TCP server with Lua, in a process of its own.

Run as a script; keeps nothing on disk and is slow, so only for trying things out.

Usage: fake_server.py PORT
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from fakeredis import TcpFakeServer
from redis.exceptions import ResponseError


def with_error_answers(read_response: Callable[..., Any]) -> Callable[..., Any]:
    """Errors become answers: fakeredis' server raises them, and then closes the connection."""

    def read(*args: Any, **kwargs: Any) -> Any:
        try:
            return read_response(*args, **kwargs)
        except ResponseError as error:
            return error

    return read


def main() -> None:
    """Serves until killed."""
    server = TcpFakeServer(("127.0.0.1", int(sys.argv[1])), server_type="redis", server_version=(7, 4))

    class Handler(server.RequestHandlerClass):  # type: ignore[misc, name-defined]  # fakeredis is not typed for this
        def setup(self) -> None:
            super().setup()
            self.current_client.read_response = with_error_answers(self.current_client.read_response)

    server.RequestHandlerClass = Handler
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
