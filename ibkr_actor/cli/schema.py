"""`ibkr-actor schema`: the contract for other languages, printed or written to a directory."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ibkr_actor.errors import ConfigurationError
from ibkr_actor.schema.asyncapi import asyncapi
from ibkr_actor.schema.json_schema import json_schema


def main(arguments: argparse.Namespace) -> int:
    """Prints one document, or writes both."""
    if arguments.out is None:
        print(document(asyncapi() if arguments.format == "asyncapi" else json_schema()), end="")
        return 0
    folder = Path(arguments.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in documents().items():
            (folder / name).write_text(value, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--out {folder}: {error.strerror}") from None
    return 0


def documents() -> dict[str, str]:
    """Both, by file name."""
    return {"asyncapi.json": document(asyncapi()), "schema.json": document(json_schema())}


def document(value: dict[str, Any]) -> str:
    """As it stands in the repository: the same on every run."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
