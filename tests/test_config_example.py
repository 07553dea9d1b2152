"""The example of a settings file: complete, true to the defaults, and loadable."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest

from ibkr_actor.load_settings import load_settings
from ibkr_actor.settings import ENV_PREFIX, Settings

EXAMPLE = Path(__file__).parent.parent / "config" / "ibkr-actor.toml"
# Their defaults are "none" or depend on the user: the example shows a value instead.
SHOWN_BY_EXAMPLE = {"gateway_port", "redis_url", "data_dir", "record_dir", "http_token"}


@pytest.fixture
def uncommented() -> str:
    return re.sub(r"^# (\w+ = )", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)


def test_the_example_as_it_stands_changes_nothing() -> None:
    assert tomllib.loads(EXAMPLE.read_text()) == {}


def test_the_example_names_every_setting_with_its_default(uncommented: str) -> None:
    values = tomllib.loads(uncommented)
    assert set(values) == set(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        if name not in SHOWN_BY_EXAMPLE:
            default = field.get_default(call_default_factory=True, validated_data={})
            assert values[name] == (list(default) if isinstance(default, tuple) else default), name


def test_the_example_uncommented_loads(uncommented: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        monkeypatch.delenv(name)
    path = tmp_path / "settings.toml"
    path.write_text(uncommented)
    settings = load_settings(path)
    assert settings.redis_address == "redis://127.0.0.1:6379/0"
    assert settings.data_dir == Path("/var/lib/ibkr-actor")
