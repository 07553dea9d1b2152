"""The rules of the house that a machine can hold: which room imports what, and the size of a file.

The rules themselves, with their reasons, stand in docs/ARCHITECTURE.md.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ibkr_actor"
# Room or module -> the rooms and modules of ours it may import, besides itself.
OURS: dict[str, set[str]] = {
    "__init__": set(),
    "__main__": {"cli"},
    "errors": set(),
    "schema": set(),
    "core": {"schema"},
    "actors": {"core", "schema"},
    "tws": {"core", "schema", "errors"},
    "bus": {"__init__", "core", "schema", "errors"},
    "client": {"schema"},
    "sim": {"schema", "errors"},
    "settings": {"errors"},
    "configs": {"actors", "bus", "core", "schema", "settings", "tws"},
    "app": {"actors", "bus", "configs", "core", "errors", "schema", "settings", "tws"},
    "cli": {"__init__", "app", "bus", "client", "errors", "schema", "settings", "sim"},
}
# The same for packages that are not ours and not of the standard library.
OTHERS: dict[str, set[str]] = {
    "schema": {"msgspec"},
    "core": {"msgspec"},
    "actors": {"anyio", "msgspec"},
    "tws": {"anyio", "google", "ibapi", "msgspec"},
    "bus": {"anyio", "fakeredis", "hiredis", "msgspec", "redis"},
    "client": {"anyio", "msgspec", "redis"},
    "sim": {"anyio", "google", "ibapi", "msgspec"},
    "settings": {"pydantic", "pydantic_settings"},
    "configs": set(),
    "app": {"anyio", "msgspec"},
    "cli": {"anyio", "msgspec", "redis"},
}
# A decision must not know what time it is, wait, log, or meet a thread: it is given all it needs.
IMPURE = {"asyncio", "concurrent", "datetime", "logging", "multiprocessing", "os", "socket", "subprocess", "threading"}
IMPURE |= {"time", "selectors", "queue", "signal"}
LINES_MAX = 400

FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else path.stem


def imports(path: Path) -> Iterator[str]:
    """Full names of everything imported, `from ibkr_actor import x` as `ibkr_actor.x`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(name: str) -> str:
    """The room or module of an import of ours; what `ibkr_actor/__init__.py` holds counts as `__init__`."""
    found = name.split(".")[1]
    return found if (PACKAGE / found).is_dir() or (PACKAGE / f"{found}.py").is_file() else "__init__"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    room = room_of(path)
    for name in imports(path):
        top = name.split(".")[0]
        if top == "ibkr_actor":
            assert ours(name) in OURS[room] | {room}, f"{room} must not import {name}"
        elif top not in sys.stdlib_module_names:
            assert top in OTHERS.get(room, set()), f"{room} must not import {name}"


@pytest.mark.parametrize(
    "path", [path for path in FILES if room_of(path) in ("schema", "core")], ids=lambda path: str(path.name)
)
def test_decisions_and_the_contract_are_pure(path: Path) -> None:
    assert {name.split(".")[0] for name in imports(path)} & IMPURE == set()
    asynchronous = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    assert not any(isinstance(node, asynchronous) for node in ast.walk(ast.parse(path.read_text())))


def test_threads_stand_at_the_borders_only() -> None:
    found = {room_of(path) for path in FILES if any(name.split(".")[0] == "threading" for name in imports(path))}
    assert found <= {"tws", "bus"}  # in bus/ the embedded server's supervisor, which is a process of its own


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_says_what_it_owns_and_stays_readable(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LINES_MAX
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":", "?"))
