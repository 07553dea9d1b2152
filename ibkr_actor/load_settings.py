"""Settings read: the sources in their order, and one line for whatever is wrong with them.

Holds no setting itself.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import DotEnvSettingsSource

from ibkr_actor.errors import ConfigurationError
from ibkr_actor.settings import DOTENV, ENV_PREFIX, Settings

# Never shown, not even when they are wrong.
SECRETS = frozenset({"REDIS_URL", "HTTP_TOKEN"})


def load_settings(config: Path | None = None, **overrides: Any) -> Settings:
    """Reads all sources; `overrides` are command-line values, None meaning not given.

    Raises:
        ConfigurationError: one line that names the setting and the fix.
    """
    path = config or (Path(os.environ["IBKR_CONFIG"]) if os.environ.get("IBKR_CONFIG") else None)
    if path is not None:
        _check_toml(path)

    class _Settings(Settings):
        toml_path = path

    given = {name: value for name, value in overrides.items() if value is not None}
    if "port" in given:
        given["gateway_port"] = None  # the command line settles what two variables might say
    try:
        return _Settings(**given)
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{DOTENV}: not UTF-8 text: {error.reason} at byte {error.start}") from None
    except ValidationError as error:
        raise ConfigurationError(_one_line(error)) from None


def unknown_variables() -> list[str]:
    """IBKR_* names, set or in `.env`, that are no setting, each with the nearest one: none is ignored in silence."""
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields} | {"IBKR_CONFIG"}
    notes = []
    in_dotenv = {name.upper() for name in DotEnvSettingsSource(Settings).env_vars}
    for name in sorted({*os.environ, *in_dotenv}):
        if name.startswith(ENV_PREFIX) and name not in known:
            # Without what all have in common, or each would be near to some other.
            near = difflib.get_close_matches(name[len(ENV_PREFIX) :], [one[len(ENV_PREFIX) :] for one in known], n=1)
            notes.append(name + (f" (did you mean {ENV_PREFIX}{near[0]}?)" if near else ""))
    return notes


def _check_toml(path: Path) -> None:
    """Refuses a file that cannot be read or that names no setting of ours."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"config file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"config file {path}: not TOML: {error}") from None
    for name in values:
        if name not in Settings.model_fields:
            near = difflib.get_close_matches(name, Settings.model_fields, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigurationError(f"config file {path}: {name!r} is not a setting{hint}")


def _one_line(error: ValidationError) -> str:
    """The first fault, as `IBKR_NAME=value: what is wrong`, and how many more there are."""
    faults = error.errors(include_url=False)
    first = faults[0]
    message = first["msg"].removeprefix("Value error, ")
    place = str(first["loc"][0]).upper().removeprefix(ENV_PREFIX) if first["loc"] else ""
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    if not place:
        return message + more
    value = "***" if place in SECRETS else repr(first["input"])
    # PORT, the replaced system's name of it, is the one variable without the prefix.
    is_port = place == "HTTP_PORT" and "PORT" in os.environ and "IBKR_HTTP_PORT" not in os.environ
    name = "PORT" if is_port else ENV_PREFIX + place
    return f"{name}={value}: {message[0].lower()}{message[1:]}{more}"
