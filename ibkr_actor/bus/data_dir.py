"""The embedded server's data directory: its lock, configuration file and the address left for the CLI.

Starts no process and opens no connection to Redis.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import tempfile
from pathlib import Path
from typing import Final

from ibkr_actor.errors import ConfigurationError

if sys.platform != "win32":
    import fcntl

ADDRESS_FILE: Final = "redis.json"
CONFIG_FILE: Final = "redis.conf"
LOCK_FILE: Final = "lock"
SERVER_LOCK_FILE: Final = "server.lock"
LOG_FILE: Final = "redis.log"
# Source: sockaddr_un is 108 bytes on Linux and 104 on macOS, the closing zero included.
SOCKET_PATH_MAX: Final = 100


class DataDir:
    """One data directory, private to its user.

    `lock` before anything else; `unlock` last.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._own_fd = -1  # from lock to unlock
        self.lock_fd = -1  # the same; for the supervisor to inherit
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"IBKR_DATA_DIR={path} cannot be made: {error.strerror}") from None
        if not os.access(path, os.W_OK | os.X_OK):
            raise ConfigurationError(f"IBKR_DATA_DIR={path} cannot be written to by this user")

    def lock(self) -> int | None:
        """Takes both locks; None when taken, else the pid of the sidecar that holds the first.

        The first is the sidecar's and ends with it. The second is shared with the server's supervisor, so that it
        outlives a killed sidecar until its server is gone: 0 means that only that one is still held.
        """
        own_fd = _locked(self.path / LOCK_FILE)
        if own_fd is None:
            return _int((self.path / LOCK_FILE).read_bytes()) or -1
        server_fd = _locked(self.path / SERVER_LOCK_FILE)
        if server_fd is None:
            os.close(own_fd)
            return 0
        os.ftruncate(own_fd, 0)
        os.write(own_fd, b"%d" % os.getpid())
        self._own_fd, self.lock_fd = own_fd, server_fd
        return None

    def unlock(self) -> None:
        for fd in (self._own_fd, self.lock_fd):
            if fd >= 0:
                os.close(fd)
        self._own_fd = self.lock_fd = -1

    def configure(self, *, port: int, memory_max_bytes: int) -> tuple[int, str, str]:
        """Writes the server's configuration; port, socket path and password, those of the last run where possible."""
        old = self._old_config()
        password = old.get("requirepass") or secrets.token_urlsafe(24)
        port = free_port(port or _int(old.get("port", "").encode()))
        socket_path = str(self.path.resolve() / "redis.sock")
        if len(os.fsencode(socket_path)) > SOCKET_PATH_MAX:
            socket_path = str(Path(tempfile.mkdtemp(prefix="ibkr-")) / "redis.sock")
        lines = [
            "bind 127.0.0.1",
            f"port {port}",
            f"unixsocket {_quoted(socket_path)}",
            "unixsocketperm 600",
            f"requirepass {password}",
            f"dir {_quoted(str(self.path.resolve()))}",
            f"logfile {LOG_FILE}",
            "daemonize no",
            # At most the last second is lost, and only with the machine; nothing is evicted behind our back.
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            # No single value that anyone sends needs more, and the sidecar must hold each command it reads.
            "proto-max-bulk-len 4mb",
            "maxmemory-policy noeviction",
            f"maxmemory {memory_max_bytes}",
        ]
        self._write_private(CONFIG_FILE, "\n".join(lines) + "\n")
        return port, socket_path, password

    def write_address(self, **fields: str | int) -> None:
        """Leaves the address for the CLI; the file holds the password and is readable by its user only."""
        self._write_private(ADDRESS_FILE, json.dumps(fields) + "\n")

    def remove_address(self) -> None:
        (self.path / ADDRESS_FILE).unlink(missing_ok=True)

    def last_log_line(self) -> str:
        """What the server said last, for an error message."""
        try:
            lines = (self.path / LOG_FILE).read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""

    def _old_config(self) -> dict[str, str]:
        try:
            text = (self.path / CONFIG_FILE).read_text()
        except OSError:
            return {}
        pairs = (line.split(" ", 1) for line in text.splitlines() if " " in line)
        return {name: value for name, value in pairs if name in ("port", "requirepass")}

    def _write_private(self, name: str, text: str) -> None:
        """Replaces a file in one step, never readable by others."""
        temporary = self.path / f".{name}.new"
        temporary.unlink(missing_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(text)
        temporary.replace(self.path / name)


def free_port(wanted: int) -> int:
    """`wanted` when it is free, else any free loopback port."""
    for port in (wanted, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ConfigurationError("no free TCP port on 127.0.0.1: set IBKR_REDIS_URL")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _int(text: bytes) -> int:
    return int(text) if text.isdigit() else 0


def _locked(path: Path) -> int | None:
    """An open file with an exclusive lock, None when another process holds it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if sys.platform != "win32":
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return None
    return fd
