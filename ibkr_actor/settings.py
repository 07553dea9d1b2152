"""Settings: every limit and address in one place, from IBKR_* variables, `.env` or a TOML file.

Validates; `load_settings.py` reads the sources. Builds nothing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from ibkr_actor.core.session.reset_windows import gateway_restart
from ibkr_actor.schema.keys import CLIENT_PATTERN, KINDS, no_kind

ENV_PREFIX = "IBKR_"
DOTENV = ".env"
NAME_PATTERN = r"^[A-Za-z0-9_-]{1,32}$"
# After redis://: user and password, host (IPv6 in brackets), port, database, options.
_REDIS_REST = r"([^/?#@]*@)?(\[[0-9A-Fa-f:.]+\]|[^/?#@:\[\]]+)(:\d{1,5})?(/\d*)?(\?[^#]*)?"
# A list in a variable is written with commas: IBKR_COMMANDERS=strat-1,strat-2.
CommaList = Annotated[tuple[str, ...], NoDecode]
CommaInts = Annotated[tuple[int, ...], NoDecode]


def default_data_dir() -> Path:
    """Where the embedded Redis keeps its data: the user's data directory."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "ibkr-actor"


class Settings(BaseSettings):
    """All settings of the sidecar. Each is IBKR_<NAME> in the environment and <name> in TOML.

    Order: command line, environment, `.env`, the TOML file (IBKR_CONFIG or --config), defaults.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_file=DOTENV,
        env_file_encoding="utf-8",
        extra="ignore",
        populate_by_name=True,
        validate_default=True,
        allow_inf_nan=False,
    )
    toml_path: ClassVar[Path | None] = None

    # -- gateway
    host: str = Field("127.0.0.1", min_length=1, description="TWS or IB Gateway host")
    port: int = Field(
        4002,
        ge=1024,
        le=65535,
        description="4002 Gateway paper, 4001 Gateway live, 7497 TWS paper, 7496 TWS live (also IBKR_GATEWAY_PORT)",
    )
    gateway_port: int | None = Field(
        None, ge=1024, le=65535, description="the replaced system's name of port; both set and different is an error"
    )
    client_id: int = Field(17, ge=0, le=2_147_483_647, description="API client id")
    client_id_pool: CommaInts = Field((), description="further client ids to try when IB says 326 (id in use)")
    gateway_name: str = Field("g1", pattern=NAME_PATTERN, description="name of this gateway in every Redis key")
    prefix: str = Field("ibkr", pattern=NAME_PATTERN, description="first part of every Redis key")
    pace_api: bool = Field(True, description="ask TWS to pace messages itself (+PACEAPI) beside our own pacing")
    connect_timeout_s: float = Field(10.0, gt=0, le=300, description="deadline of the TCP connect")
    handshake_timeout_s: float = Field(10.0, gt=0, le=300, description="deadline of the API handshake")
    ready_timeout_s: float = Field(30.0, gt=0, le=600, description="deadline from handshake to IB's nextValidId")
    read_timeout_sec: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="silence after which a connection that was probed in vain is closed and reopened",
    )
    inbox_max_bytes: int = Field(
        64 * 2**20, ge=2**20, description="received bytes not yet handled; beyond it the socket is not read"
    )

    # -- what is asked for
    market_data_type: int = Field(1, ge=1, le=4, description="1 live, 2 frozen, 3 delayed, 4 delayed-frozen")
    snapshot_mode: bool = Field(False, description="ask for one snapshot instead of a stream of level-1 data")
    use_rth: bool = Field(False, description="bars of regular trading hours only, where the kind does not say")
    lines: int = Field(100, ge=1, le=10_000, description="market data lines of the login; IB's default is 100")
    depth_lines: int = Field(3, ge=1, le=60, description="order books of the login open at a time; IB's default is 3")
    roll_days: int = Field(
        0,
        ge=0,
        le=365,
        description="days before its last one on which a continuous future rolls; 0: when IB's own does",
    )
    depth_rows: int = Field(10, ge=1, le=20, description="rows of each side of an order book")
    lease_s: float = Field(0.0, ge=0, description="lease of a subscription whose command names none; 0 = none")
    lease_max_s: float = Field(7 * 86_400.0, gt=0, description="longest lease a command may ask for")
    stale_after_s: float = Field(
        7.0, ge=1, le=3600, description="shortest silence in market hours that makes a stream stale; slow ones get more"
    )
    stale_probe_s: float = Field(
        30.0, ge=0, description="silence in market hours after which a line is asked for again; 0 = never"
    )
    heal: bool = Field(False, description="refill gaps from history, for subscriptions that do not say (field heal)")
    contract_ttl_s: float = Field(86_400.0, gt=0, description="age at which a resolved contract is asked for again")
    unknown_contract_ttl_s: float = Field(300.0, ge=0, description="how long IB's 'no such contract' is remembered")
    contract_timeout_s: float = Field(30.0, gt=0, description="how long a look-up may wait for IB's answer")
    pending_commands_max: int = Field(10_000, ge=1, description="commands waiting for a contract at a time")
    subscriptions_max: int = Field(10_000, ge=1, description="holders of subscriptions at a time")
    pacing_queue_max: int = Field(10_000, ge=1, description="requests waiting for their turn at IB")
    pacing_message_margin_s: float = Field(
        0.5, ge=0, le=10, description="added to each second of IB's message rate, since IB counts what it receives"
    )
    pacing_window_margin_s: float = Field(
        0.5, ge=0, le=60, description="added to IB's longer pacing windows, since IB counts what it receives"
    )
    mailbox_max: int = Field(1_000, ge=1, description="batches an actor's mailbox holds before its senders wait")

    # -- reconnecting
    reconnect_enabled: bool = Field(True, description="connect again after a loss")
    reconnect_backoff_ms: int = Field(250, ge=1, description="first wait before connecting again")
    reconnect_backoff_max_ms: int = Field(5_000, ge=1, description="longest wait before connecting again")
    max_reconnect_attempts: int = Field(0, ge=0, description="attempts in a row before giving up; 0 = never give up")

    gateway_restart: str = Field(
        "", description="the gateway's own daily restart, such as 23:55 America/New_York; its absence then is no alarm"
    )

    # -- history and options, by the replaced system's names where it had them
    hist_pacing_window_sec: int = Field(600, ge=1, description="window of IB's limit on small-bar history requests")
    hist_max_bars_per_request: int = Field(
        20_000, ge=1, le=100_000, description="most bars asked for in one history request"
    )
    history_cache_bytes: int = Field(
        64 * 2**20, ge=0, description="bytes of finished windows of bars kept in Redis; 0 = none"
    )
    history_cache_s: float = Field(
        86_400.0, gt=0, description="age at which a kept window is asked for again: a split changes the past"
    )
    history_buffer_bytes: int = Field(
        64 * 2**20, ge=2**16, description="unread bytes of a history job above which it waits for its reader"
    )
    options_semaphore_size: int = Field(5, ge=1, description="option requests without an answer at a time")
    options_base_delay: float = Field(0.1, ge=0, description="seconds between option requests")
    options_max_contracts: int = Field(50, ge=1, description="most market data lines of one option chain")
    options_max_retries: int = Field(3, ge=0, description="attempts per option after the first")
    options_backoff_multiplier: float = Field(1.5, ge=1, description="growth of the delay between attempts")

    # -- Redis
    redis_url: SecretStr | None = Field(
        None, description="redis://, rediss:// or unix:// URL; without it an embedded server is started"
    )
    data_dir: Path = Field(default_factory=default_data_dir, description="data directory of the embedded server")
    redis_port: int = Field(0, ge=0, le=65535, description="TCP port of the embedded server; 0 = any free one")
    encoding: Literal["msgpack", "json"] = Field("msgpack", description="how records are written")
    commanders: CommaList = Field((), description="clients with a command stream of their own")
    all_kinds: CommaList = Field((), description="kinds whose every record is also written to all:<kind>")
    retention_entries: int = Field(10_000, ge=100, description="entries kept per stream (approximate)")
    retention_s: float = Field(0.0, ge=0, description="age at which entries are trimmed; 0 = by count only")
    stream_ttl_s: float = Field(86_400.0, gt=0, description="how long a stream without holders is kept")
    redis_memory_max: int = Field(
        2**30, ge=16 * 2**20, description="memory budget in Redis; at 80 percent retention halves"
    )
    ring_max_records: int = Field(400_000, ge=1_000, description="records kept while Redis is away")
    ring_max_bytes: int = Field(128 * 2**20, ge=2**20, description="bytes of records kept while Redis is away")
    batch_max_records: int = Field(2_000, ge=1, le=50_000, description="records in one write")
    flush_interval_ms: float = Field(0.0, ge=0, description="wait between writes; 0 = as soon as the last is answered")
    replay_records: int = Field(
        50_000, ge=0, description="written records kept in case Redis comes back with older data"
    )
    replies_max: int = Field(1_000, ge=10, description="entries kept in each reply stream")
    replies_ttl_s: float = Field(3_600.0, gt=0, description="how long replies and remembered answers are kept")
    heartbeat_s: float = Field(1.0, gt=0, description="how often the heartbeat key is written")
    heartbeat_ttl_s: float = Field(5.0, gt=0, description="how long the heartbeat key lives after the last write")
    drain_s: float = Field(10.0, ge=0, description="how long a shutdown may take to write what is pending")
    # -- HTTP
    http_enabled: bool = Field(True, description="whether `run` serves HTTP beside the sidecar")
    http_host: str = Field("127.0.0.1", min_length=1, description="address to listen on; 0.0.0.0 is every one")
    http_port: int = Field(
        8084,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("IBKR_HTTP_PORT", "PORT"),
        description="port to listen on, 0 = any free one (also PORT, as the replaced system has it)",
    )
    http_token: SecretStr | None = Field(
        None, description="bearer token that everything but /health asks for; without it nothing does"
    )
    http_cors_origins: CommaList = Field((), description="origins whose pages may use the service; * is all")
    http_quote_hz: float = Field(
        10.0, ge=0, le=100, description="quotes of one instrument a second for a client that asks nothing else; 0 = all"
    )
    http_lease_s: float = Field(60.0, ge=1, le=3600, description="how long lines outlive a killed HTTP service")
    http_answer_s: float = Field(10.0, gt=0, le=300, description="how long an answer of the sidecar is waited for")
    http_clients_max: int = Field(1_000, ge=1, description="streams served at a time")
    http_client_queue: int = Field(
        1_000, ge=10, description="records that wait for one client; with more it is dropped with a notice"
    )
    http_stall_s: float = Field(30.0, gt=0, description="how long a client may take nothing before it is cut off")
    http_history_rows_max: int = Field(200_000, ge=1, description="most bars in one answer")
    http_history_timeout_s: float = Field(300.0, gt=0, description="how long bars are waited for")

    # -- recording
    record_dir: Path | None = Field(
        None, description="where the raw frames of each connection are recorded, accounts masked; without it none are"
    )
    record_max_bytes: int = Field(2**30, ge=2**21, description="recordings kept there; the oldest are removed")
    record_file_bytes: int = Field(64 * 2**20, ge=2**20, description="size at which a recording goes on in a new file")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="what is logged")

    @field_validator("client_id_pool", "commanders", "all_kinds", "http_cors_origins", mode="before")
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        # The value is never quoted: an unescaped character in the password can make any part of it look like another.
        url = value.get_secret_value()
        if not re.match(r"^(redis|rediss|unix)://", url):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        if not url.startswith("unix://") and not re.fullmatch(_REDIS_REST, url.partition("://")[2]):
            raise ValueError("is not redis://[user:password@]host[:port][/db]; escape / ? # @ in a password with %")
        return value

    @field_validator("gateway_restart")
    @classmethod
    def _is_restart(cls, value: str) -> str:
        if value:
            gateway_restart(value)
        return value

    @field_validator("http_port", mode="before")
    @classmethod
    def _empty_port_is_default(cls, value: Any) -> Any:
        return value if value != "" else cls.model_fields["http_port"].default

    @field_validator("http_token")
    @classmethod
    def _is_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        # What fits a header, a cookie and a query as it stands. The value is never quoted.
        if not re.fullmatch(r"[A-Za-z0-9._~-]{8,200}", value.get_secret_value()):
            raise ValueError("must be 8 to 200 of A-Z a-z 0-9 . _ ~ -")
        return value

    @field_validator("data_dir", mode="before")
    @classmethod
    def _empty_is_default(cls, value: Any) -> Any:
        return value if value != "" else default_data_dir()

    @field_validator("record_dir", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return value if value != "" else None

    @field_validator("all_kinds")
    @classmethod
    def _are_kinds(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for kind in value:
            if kind not in KINDS:
                raise ValueError(no_kind(kind))
        return value

    @field_validator("commanders")
    @classmethod
    def _are_clients(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for client in value:
            if not CLIENT_PATTERN.fullmatch(client):
                raise ValueError(f"{client!r} is no client name ({CLIENT_PATTERN.pattern})")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.gateway_port is not None:
            if "port" in self.model_fields_set and self.port != self.gateway_port:
                raise ValueError(
                    f"IBKR_PORT={self.port} and IBKR_GATEWAY_PORT={self.gateway_port} differ: set one of them"
                )
            self.port = self.gateway_port
        if self.reconnect_backoff_max_ms < self.reconnect_backoff_ms:
            raise ValueError(
                f"IBKR_RECONNECT_BACKOFF_MAX_MS={self.reconnect_backoff_max_ms} is below "
                f"IBKR_RECONNECT_BACKOFF_MS={self.reconnect_backoff_ms}: raise it"
            )
        if self.lease_s > self.lease_max_s:
            raise ValueError(f"IBKR_LEASE_S={self.lease_s:g} is above IBKR_LEASE_MAX_S={self.lease_max_s:g}: lower it")
        if self.record_max_bytes < 2 * self.record_file_bytes:
            raise ValueError(
                f"IBKR_RECORD_MAX_BYTES={self.record_max_bytes} is below twice "
                f"IBKR_RECORD_FILE_BYTES={self.record_file_bytes}: raise it, or lower the other"
            )
        if self.heartbeat_ttl_s <= self.heartbeat_s:
            raise ValueError(
                f"IBKR_HEARTBEAT_TTL_S={self.heartbeat_ttl_s} must be longer than IBKR_HEARTBEAT_S={self.heartbeat_s}"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        sources = [init_settings, env_settings, dotenv_settings]
        if cls.toml_path is not None:
            sources.append(TomlConfigSettingsSource(settings_cls, toml_file=cls.toml_path))
        return tuple(sources)

    @property
    def redis_address(self) -> str | None:
        """The URL in plain text, None for the embedded server."""
        return self.redis_url.get_secret_value() if self.redis_url is not None else None
