"""Owns how a mistake in a script is told: one line that names the key and what it should have been.

Must not know scripts; it only words.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Literal, get_args, get_origin, get_type_hints

_AT = re.compile(r" - at `\$\.?(.*?)`$")
_MISSING = re.compile(r"Object missing required field `(.*)`")
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "str": "text in quotes",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}


def explained(problem: str) -> str:
    """msgspec's complaint in words of the file: `code: must be a whole number, is text in quotes`."""
    at = _AT.search(problem)
    key = at[1] if at is not None else ""
    text = problem[: at.start()] if at is not None else problem
    missing = _MISSING.fullmatch(text)
    if missing is not None:
        return f"{missing[1]}: is missing"
    expected = re.fullmatch(r"Expected `(.*)`, got `(.*)`", text)
    if expected is not None:
        wanted = [_TYPES.get(each, each) for each in expected[1].split(" | ") if each != "null"]
        text = f"must be {' or '.join(wanted)}, is {_TYPES.get(expected[2], expected[2])}"
    return f"{key}: {text}" if key else text


def choices(kind: type, key: str) -> tuple[str, ...]:
    """The words a field may be, when it may be only some; `key` as scripts spell it."""
    hints = get_type_hints(kind)
    return get_args(hints[key]) if key in hints and get_origin(hints[key]) is Literal else ()


def unknown_key(what: str, name: str, known: Iterable[str]) -> str:
    """In the manner of `no key 'instrumnt'; did you mean 'instrument'?`, or with all names when none is close."""
    names = list(known)
    close = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names) or 'none'}"
    return f"no {what} {name!r}; {hint}"
