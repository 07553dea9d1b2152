"""Every name that the replaced package exported is there, and the provider is found by those who look for it."""

import tomllib
from importlib import import_module
from pathlib import Path

import market_data_core as core
import pytest
from pydantic import ValidationError
from starlette.applications import Starlette

import ibkr_actor
import ibkr_actor.provider as market_data_ibkr  # as somebody may write who wants to change one line only
from ibkr_actor.provider.own_sidecar import _SAME, _sidecar_settings
from ibkr_actor.provider.registry import ENTRY_POINT_GROUP, PROVIDER_SPEC, Providers, register

# `__all__` of market-data-ibkr 1.1.7.
NAMES = [
    "IBKRProvider",
    "IBKRSettings",
    "IBKRSessionManager",
    "map_ibkr_error",
    "handle_ib_error",
    "ERROR_CODE_MAP",
    "PacingManager",
    "TokenBucket",
    "ibkr_ticker_to_quote",
    "ibkr_bar_to_bar",
    "parse_ibkr_resolution",
    "ibkr_ticks_total",
    "ibkr_connection_uptime_seconds",
    "server_app",
    "__version__",
]
# Its settings: name, lowest, highest, default.
SETTINGS: list[tuple[str, float | None, float | None, object]] = [
    ("host", None, None, "127.0.0.1"),
    ("port", 1024, 65535, 4002),
    ("client_id", 0, 9999, 17),
    ("read_timeout_sec", 1.0, 300.0, 30.0),
    ("market_data_type", 1, 4, 1),
    ("snapshot_mode", None, None, False),
    ("reconnect_enabled", None, None, True),
    ("reconnect_backoff_ms", 100, 60000, 250),
    ("reconnect_backoff_max_ms", 1000, 300000, 5000),
    ("max_reconnect_attempts", 0, 100, 10),
    ("hist_pacing_window_sec", 60, 3600, 600),
    ("hist_max_bars_per_request", 1, 10000, 2000),
    ("options_semaphore_size", 1, 50, 5),
    ("options_base_delay", 0.01, 10.0, 0.1),
    ("options_max_contracts", 1, 500, 50),
    ("options_max_retries", 0, 10, 3),
    ("options_backoff_multiplier", 1.0, 5.0, 1.5),
]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IBKR_REDIS_URL", "redis://127.0.0.1:1/0")
    assert getattr(market_data_ibkr, name) is not None
    assert name in market_data_ibkr.__all__


def test_the_http_application_is_a_real_one_and_the_version_is_ours() -> None:
    assert isinstance(market_data_ibkr.server_app, Starlette)
    assert market_data_ibkr.__version__ == ibkr_actor.__version__
    with pytest.raises(AttributeError, match="nothing"):
        _ = market_data_ibkr.nothing


@pytest.mark.parametrize(("name", "lowest", "highest", "default"), SETTINGS)
def test_a_setting_has_its_range_and_its_default(
    name: str, lowest: float | None, highest: float | None, default: object
) -> None:
    settings = market_data_ibkr.IBKRSettings
    assert getattr(settings(), name) == default
    related = {"reconnect_backoff_max_ms": 300_000} if name == "reconnect_backoff_ms" else {}
    if name == "reconnect_backoff_max_ms":
        related = {"reconnect_backoff_ms": 100}
    if lowest is not None and highest is not None:
        for value in (lowest, highest):
            assert getattr(settings.model_validate(related | {name: value}), name) == value
        for value in (lowest - 1, highest + 1):
            with pytest.raises(ValidationError):
                settings.model_validate(related | {name: value})


def test_a_setting_that_is_none_is_refused_and_one_may_be_changed_later() -> None:
    with pytest.raises(ValidationError, match="clientid"):
        market_data_ibkr.IBKRSettings.model_validate({"clientid": 3})
    settings = market_data_ibkr.IBKRSettings()
    settings.port = 7497
    assert settings.port == 7497
    with pytest.raises(ValidationError):
        settings.port = 80
    with pytest.raises(ValidationError, match="redis"):
        market_data_ibkr.IBKRSettings(redis_url="http://x")


def test_the_redis_of_the_environment_is_meant_and_an_empty_one_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IBKR_REDIS_URL", "redis://h:1/0")
    monkeypatch.setenv("IBKR_GATEWAY_NAME", "g7")
    settings = market_data_ibkr.IBKRSettings()
    assert (settings.redis_url, settings.gateway_name, settings.prefix) == ("redis://h:1/0", "g7", "ibkr")
    assert "redis://" not in repr(settings)
    monkeypatch.setenv("IBKR_REDIS_URL", "")
    assert market_data_ibkr.IBKRSettings().redis_url is None


def test_every_setting_reaches_the_sidecar_of_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IBKR_PORT", "4001")  # what the caller says counts
    given = market_data_ibkr.IBKRSettings(
        port=7497, client_id=3, hist_max_bars_per_request=7, options_max_contracts=9, max_reconnect_attempts=4
    )
    settings = _sidecar_settings(given, "redis://127.0.0.1:1/0")
    assert {name: getattr(settings, name) for name in _SAME} == {name: getattr(given, name) for name in _SAME}
    assert settings.redis_address == "redis://127.0.0.1:1/0"
    here = {"snapshot_mode", "use_rth", "redis_url", "lease_s", "data_dir"}  # in effect in the provider itself
    assert set(type(given).model_fields) == set(_SAME) | here


def test_the_spec_and_the_entry_point_lead_to_the_class() -> None:
    module = import_module(PROVIDER_SPEC.module)
    assert getattr(module, PROVIDER_SPEC.entry) is market_data_ibkr.IBKRProvider
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"][ENTRY_POINT_GROUP] == {"ibkr": "ibkr_actor.provider:IBKRProvider"}


def test_a_registry_of_cores_protocol_has_it_and_one_that_takes_classes_gets_it() -> None:
    providers = Providers()
    assert isinstance(providers, core.ProviderRegistry)
    assert [spec.name for spec in providers.providers()] == ["ibkr"]
    assert providers.get("ibkr") is PROVIDER_SPEC
    with pytest.raises(core.RegistryError, match="synthetic"):
        providers.get("synthetic")

    class Registry:
        def __init__(self) -> None:
            self.found: dict[str, object] = {}

        def register(self, name: str, found: object) -> None:
            self.found[name] = found

    registry = Registry()
    register(registry)
    assert registry.found == {"ibkr": market_data_ibkr.IBKRProvider}
    with pytest.raises(core.RegistryError, match="register"):
        register(object())
