"""What a check of the doctor found, and how it is told.

Checks nothing.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Level = Literal["ok", "warn", "fail"]


class Finding(Struct, frozen=True):
    """One check: what was found, and for what is not ok, what to do about it."""

    check: str
    level: Level
    message: str
    advice: str = ""

    def text(self) -> str:
        """A line, and the advice on one of its own."""
        line = f"{self.level:<5} {self.check:<12} {self.message}"
        return f"{line}\n{'':<18} -> {self.advice}" if self.advice else line


def ok(check: str, message: str) -> Finding:
    return Finding(check, "ok", message)


def warn(check: str, message: str, advice: str) -> Finding:
    return Finding(check, "warn", message, advice)


def fail(check: str, message: str, advice: str) -> Finding:
    return Finding(check, "fail", message, advice)
