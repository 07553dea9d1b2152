"""The last resort where no Redis server can be had: fakeredis' TCP server with Lua, in a process of its own.

Run as a script; keeps nothing on disk and is slow, so only for trying things out.

Usage: fake_server.py PORT
"""

from __future__ import annotations

import sys

from fakeredis import TcpFakeServer


def main() -> None:
    """Serves until killed."""
    server = TcpFakeServer(("127.0.0.1", int(sys.argv[1])), server_type="redis", server_version=(7, 4))
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
