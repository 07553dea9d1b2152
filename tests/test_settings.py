"""Settings: where they come from, which come first, and the one line a wrong one gets."""

from pathlib import Path

import pytest

from ibkr_actor.errors import ConfigurationError
from ibkr_actor.load_settings import load_settings, unknown_variables
from ibkr_actor.settings import Settings, default_data_dir


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No IBKR_* variable and no `.env` of whoever runs the tests."""
    import os

    for name in list(os.environ):
        if name.startswith("IBKR_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_the_defaults_are_those_of_a_paper_gateway_on_this_machine() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.client_id, settings.gateway_name) == ("127.0.0.1", 4002, 17, "g1")
    assert settings.redis_address is None
    assert settings.max_reconnect_attempts == 0


def test_variables_come_before_dotenv_and_dotenv_before_toml(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    toml = tmp_path / "a.toml"
    toml.write_text('host = "toml"\nclient_id = 1\nport = 5001\n')
    (tmp_path / ".env").write_text("IBKR_HOST=dotenv\nIBKR_CLIENT_ID=2\nUNRELATED=1\n")
    monkeypatch.setenv("IBKR_HOST", "variable")
    settings = load_settings(toml)
    assert (settings.host, settings.client_id, settings.port) == ("variable", 2, 5001)
    assert load_settings(toml, host="argument").host == "argument"


def test_a_toml_file_may_be_named_by_a_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text("lines = 200\n")
    monkeypatch.setenv("IBKR_CONFIG", str(tmp_path / "b.toml"))
    assert load_settings().lines == 200


def test_gateway_port_is_another_name_of_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IBKR_GATEWAY_PORT", "7497")
    assert load_settings().port == 7497
    monkeypatch.setenv("IBKR_PORT", "7497")
    assert load_settings().port == 7497
    assert load_settings(port=4001).port == 4001


def test_lists_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IBKR_CLIENT_ID_POOL", "18, 19")
    monkeypatch.setenv("IBKR_COMMANDERS", "strat-1,strat-2,")
    settings = load_settings()
    assert (settings.client_id_pool, settings.commanders) == ((18, 19), ("strat-1", "strat-2"))


def test_every_setting_of_the_replaced_system_is_taken() -> None:
    replaced = {
        "host", "port", "client_id", "read_timeout_sec", "market_data_type", "snapshot_mode", "reconnect_enabled",
        "reconnect_backoff_ms", "reconnect_backoff_max_ms", "max_reconnect_attempts", "hist_pacing_window_sec",
        "hist_max_bars_per_request", "options_semaphore_size", "options_base_delay", "options_max_contracts",
        "options_max_retries", "options_backoff_multiplier", "use_rth",
    }  # fmt: skip
    assert replaced <= Settings.model_fields.keys()


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"IBKR_PORT": "abc"}, "IBKR_PORT='abc': input should be a valid integer"),
        ({"IBKR_PORT": "5"}, "IBKR_PORT='5': input should be greater than or equal to 1024"),
        ({"IBKR_PORT": "70000"}, "IBKR_PORT='70000': input should be less than or equal to 65535"),
        ({"IBKR_PORT": "4001", "IBKR_GATEWAY_PORT": "4002"}, "IBKR_PORT=4001 and IBKR_GATEWAY_PORT=4002 differ"),
        ({"IBKR_REDIS_URL": "http://secret"}, "IBKR_REDIS_URL=***: must begin with redis://"),
        ({"IBKR_GATEWAY_NAME": "a:b"}, "IBKR_GATEWAY_NAME='a:b'"),
        ({"IBKR_MARKET_DATA_TYPE": "5"}, "IBKR_MARKET_DATA_TYPE='5'"),
        ({"IBKR_RECONNECT_BACKOFF_MS": "9000"}, "IBKR_RECONNECT_BACKOFF_MAX_MS=5000 is below"),
        ({"IBKR_RECORD_FILE_BYTES": "1000000000"}, "IBKR_RECORD_MAX_BYTES=1073741824 is below twice"),
        ({"IBKR_HEARTBEAT_S": "9"}, "IBKR_HEARTBEAT_TTL_S=5.0 must be longer"),
        ({"IBKR_CONFIG": "nowhere.toml"}, "config file nowhere.toml: No such file"),
        ({"IBKR_LOG_LEVEL": "loud"}, "IBKR_LOG_LEVEL='loud'"),
        ({"IBKR_REDIS_URL": "redis://:secret@host:abc/0"}, "IBKR_REDIS_URL=***: is not redis://[user:password@]host"),
        ({"IBKR_REDIS_URL": "redis://u:sec/secret@host/0"}, "escape / ? # @ in a password with %"),
        ({"IBKR_REDIS_URL": "redis://host/db"}, "IBKR_REDIS_URL=***: is not redis://"),
        ({"IBKR_COMMANDERS": "a:b"}, "'a:b' is no client name"),
        ({"IBKR_ALL_KINDS": "qoute"}, "'qoute' is no kind (did you mean quote?); known: quote, tick"),
        ({"IBKR_DRAIN_S": "inf"}, "IBKR_DRAIN_S='inf': input should be a finite number"),
        ({"IBKR_GATEWAY_RESTART": "noon"}, "is not a time with a zone, such as 23:55 America/New_York"),
        ({"IBKR_LEASE_S": "1e9"}, "IBKR_LEASE_S=1e+09 is above IBKR_LEASE_MAX_S=604800: lower it"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], line: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [("hots = 'x'\n", "'hots' is not a setting; did you mean host?"), ("port = [\n", "not TOML")],
)
def test_a_config_file_that_names_no_setting_is_refused(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="config file") as caught:
        load_settings(path)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_variable_that_is_no_setting_is_named_with_the_nearest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IBKR_HSOT", "x")
    monkeypatch.setenv("IBKR_PORT", "4001")
    assert unknown_variables() == ["IBKR_HSOT (did you mean IBKR_HOST?)"]


def test_a_line_of_dotenv_that_is_no_setting_is_named_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("IBKR_PROT=4001\nIBKR_HOST=h\nOTHER=1\n")
    assert unknown_variables() == ["IBKR_PROT (did you mean IBKR_PORT?)"]


def test_a_dotenv_that_is_no_text_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xff\xfeI")
    with pytest.raises(ConfigurationError, match=r"^\.env: not UTF-8 text: .* at byte 0$"):
        load_settings()


def test_an_empty_data_directory_is_the_default_one_and_not_the_current_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IBKR_DATA_DIR", "")
    assert load_settings().data_dir == default_data_dir()


def test_an_empty_recording_directory_records_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IBKR_RECORD_DIR", "")
    assert load_settings().record_dir is None
    monkeypatch.setenv("IBKR_RECORD_DIR", str(tmp_path))
    assert load_settings().record_dir == tmp_path


@pytest.mark.parametrize(
    "url",
    [
        "redis://host",
        "redis://host/",
        "rediss://user:p%2Fw@cache.example.com:6380/15?ssl_cert_reqs=none",
        "redis://:pw@[::1]:6379/0",
        "unix://:pw@/run/redis.sock?db=1",
    ],
)
def test_redis_urls_of_every_form_are_taken(url: str) -> None:
    assert load_settings(redis_url=url).redis_address == url


def test_the_password_in_a_redis_url_is_not_shown() -> None:
    settings = load_settings(redis_url="redis://:secret@localhost/0")
    assert settings.redis_address == "redis://:secret@localhost/0"
    assert "secret" not in repr(settings)
