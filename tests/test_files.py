"""Every file of the package says what it owns, and stays short enough to be read in one go."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ibkr_actor"
LINES_MAX = 400
LOGGERS = ("log", "_log", "logger")
LEVELS = ("debug", "info", "warning", "error", "exception")
# An event's name, its fields, and for a person what follows from it.
LOG_LINE = re.compile(r"[a-z%][a-z0-9_%]*(?: [a-z_]+=%[-.0-9]*[a-z])*(?:: [^%]+)?")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_says_what_it_owns_and_stays_readable(path: Path) -> None:
    text = path.read_text()
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":", "?"))
    assert len(text.splitlines()) <= LINES_MAX


def _log_lines(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner, name = node.func.value, node.func.attr
        if isinstance(owner, ast.Name) and owner.id in LOGGERS and name in (*LEVELS, "log"):
            text = node.args[name == "log"]
            yield str(text.value) if isinstance(text, ast.Constant) else ast.unparse(text)


def test_a_log_line_is_an_event_with_fields() -> None:
    lines = [line for path in PACKAGE.rglob("*.py") for line in _log_lines(ast.parse(path.read_text()))]
    assert len(lines) > 40
    assert [line for line in lines if not LOG_LINE.fullmatch(line)] == []
