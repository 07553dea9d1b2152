"""Which installed `ibapi` may be used: one check, made before anything here imports it.

Does not import ibapi at module level, so that the check itself can run where it is missing or wrong.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import logging
import re

from ibkr_actor.errors import UnsupportedIbapi

INSTALL = "pip install 'ibkr-actor[sidecar]'"
# The first official client whose EWrapper.error carries errorTime and whose messages are protobuf from server 201 on.
# Source: the changes between the published clients 9.81, 10.30, 10.40 and 10.46.
NEEDED = "10.46 or newer"

# A file of the package as a distribution lists it; `installed-files.txt` begins with the way out of its own directory.
_IBAPI_FILE = re.compile(r"^(?:\.\./)?ibapi/", re.MULTILINE)

log = logging.getLogger(__name__)


def check_ibapi() -> str:
    """The distribution and version of the installed client, such as `ibapi-stable 10.50.2`.

    Raises:
        UnsupportedIbapi: it is missing, too old, broken, or two distributions provide it; the line names the fix.
    """
    if importlib.util.find_spec("ibapi") is None:
        raise UnsupportedIbapi(f"the official client ibapi is not installed: {INSTALL}")
    names = _distributions()
    if len(names) > 1:
        listed = " and ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
        raise UnsupportedIbapi(
            f"{listed} both provide the import 'ibapi' and overwrite each other's files: "
            f"pip uninstall -y {' '.join(names)} && {INSTALL}"
        )
    label = f"{names[0]} {importlib.metadata.version(names[0])}" if names else "ibapi (not installed by pip)"
    fault = _fault()
    if fault:
        remove = f"pip uninstall -y {names[0]}" if names else "remove the directory of ibapi from sys.path"
        raise UnsupportedIbapi(f"{label} cannot be used ({fault}), {NEEDED} is needed: {remove} && {INSTALL}")
    log.info("ibapi_found distribution=%s", label.replace(" ", "-"))
    return label


def _distributions() -> list[str]:
    """Names of the distributions that provide `ibapi`, each once however it is spelled."""
    found = [each.metadata["Name"] for each in importlib.metadata.distributions() if _provides_ibapi(each)]
    return sorted({re.sub(r"[-_.]+", "-", name).lower() for name in found})


def _provides_ibapi(distribution: importlib.metadata.Distribution) -> bool:
    """Whether it lists a file of that package. `packages_distributions` reads every name of every file for the same."""
    listed = distribution.read_text("RECORD") or distribution.read_text("installed-files.txt") or ""
    return _IBAPI_FILE.search(listed) is not None or "ibapi" in (distribution.read_text("top_level.txt") or "").split()


def _fault() -> str | None:
    """What the installed client lacks, None when it will do."""
    try:
        if not hasattr(importlib.import_module("ibapi.common"), "PROTOBUF_MSG_ID"):
            return "it knows no protobuf messages"
        importlib.import_module("ibapi.protobuf.TickPrice_pb2")
        wrapper = importlib.import_module("ibapi.wrapper").EWrapper
        importlib.import_module("ibapi.client")
    except ImportError as error:
        return f"import fails: {error}"
    except RuntimeError as error:  # protobuf's VersionError: generated code and runtime do not match
        return f"protobuf does not fit: {str(error).splitlines()[0]}"
    if "errorTime" not in inspect.signature(wrapper.error).parameters:
        return "its error callback has no errorTime"
    return None
