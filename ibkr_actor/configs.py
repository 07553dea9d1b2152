"""Each part's configuration, out of the settings: the one table from a setting's name to what it governs.

Builds Structs only. `speed` is that of the sidecar's clock, 1 but beside a simulator: what the network and the machine
take does not shrink with it, so margins and timeouts grow as much.
"""

from __future__ import annotations

from ibkr_actor.bus.config import (
    BusConfig,
    CommandConfig,
    HeartbeatConfig,
    PublisherConfig,
    RedisConfig,
    ReplyConfig,
    RetentionConfig,
    RingConfig,
)
from ibkr_actor.bus.embedded import EmbeddedConfig
from ibkr_actor.core.chains.turns import TurnsConfig
from ibkr_actor.core.config import (
    ContractsConfig,
    HistoryConfig,
    PacingConfig,
    ReferenceConfig,
    SessionConfig,
    SubscriptionsConfig,
)
from ibkr_actor.core.session.reset_windows import NORTH_AMERICA, gateway_restart
from ibkr_actor.http.config import HttpConfig
from ibkr_actor.schema.keys import Keys
from ibkr_actor.settings import Settings
from ibkr_actor.tws.gateway import GatewayConfig
from ibkr_actor.tws.recording_file import RecorderConfig

# What a message may take from here to a simulator beside it, and its answer back, on a machine with other work.
_MARGIN_S = 0.2


def session(settings: Settings, speed: float = 1.0) -> SessionConfig:
    """`read_timeout_sec` is the silence until the gateway is asked for its time and that until it has to answer."""
    usual = SessionConfig()
    asks_after_s = min(usual.heartbeat_interval_s, settings.read_timeout_sec / 2)
    return SessionConfig(
        client_ids=(settings.client_id, *(id_ for id_ in settings.client_id_pool if id_ != settings.client_id)),
        market_data_type=settings.market_data_type,
        reconnect_enabled=settings.reconnect_enabled,
        backoff_initial_s=settings.reconnect_backoff_ms / 1000,
        backoff_max_s=settings.reconnect_backoff_max_ms / 1000,
        max_attempts=settings.max_reconnect_attempts,
        ready_timeout_s=settings.ready_timeout_s * speed,
        heartbeat_interval_s=asks_after_s * speed,
        heartbeat_timeout_s=(settings.read_timeout_sec - asks_after_s) * speed,
        mute_s=usual.mute_s * speed,
        stop_timeout_s=usual.stop_timeout_s * speed,
        reset_windows=NORTH_AMERICA + ((gateway_restart(restart),) if (restart := settings.gateway_restart) else ()),
    )


def _margin_s(margin_s: float, speed: float) -> float:
    return max(margin_s, _MARGIN_S * speed) if speed > 1 else margin_s


def pacing(settings: Settings, speed: float = 1.0) -> PacingConfig:
    default = PacingConfig()
    return PacingConfig(
        lines=settings.lines,
        queue_max=settings.pacing_queue_max,
        small_bars_window_s=settings.hist_pacing_window_sec,
        message_margin_s=_margin_s(settings.pacing_message_margin_s, speed),
        window_margin_s=_margin_s(settings.pacing_window_margin_s, speed),
        answer_s=default.answer_s * speed,
        abandon_s=default.abandon_s * speed,
        write_every_s=default.write_every_s * speed,
    )


def contracts(settings: Settings, speed: float = 1.0) -> ContractsConfig:
    return ContractsConfig(
        ttl_s=settings.contract_ttl_s,
        negative_ttl_s=settings.unknown_contract_ttl_s,
        timeout_s=settings.contract_timeout_s * speed,
        pending_max=settings.pending_commands_max,
    )


def reference(settings: Settings, speed: float = 1.0) -> ReferenceConfig:
    default = ReferenceConfig()
    return ReferenceConfig(
        timeout_s=settings.contract_timeout_s * speed,
        listing_timeout_s=default.listing_timeout_s * speed,
        pending_max=settings.pending_commands_max,
        at_a_time=settings.options_semaphore_size,
    )


def chain_turns(settings: Settings, speed: float = 1.0) -> TurnsConfig:
    default = TurnsConfig()
    return TurnsConfig(
        waiting_max=settings.options_semaphore_size,
        # A turn takes two messages: all turns together leave half of the message rate, lines/2 a second, to others.
        delay_s=max(settings.options_base_delay, 8.0 * (1 + settings.pacing_message_margin_s) / settings.lines),
        retries_max=settings.options_max_retries,
        backoff=settings.options_backoff_multiplier,
        turn_max_s=default.turn_max_s * speed,
    )


def subscriptions(settings: Settings, speed: float = 1.0) -> SubscriptionsConfig:
    default = SubscriptionsConfig()
    return SubscriptionsConfig(
        keys=Keys(settings.prefix, settings.gateway_name),
        lines=settings.lines,
        depth_lines=settings.depth_lines,
        depth_rows=settings.depth_rows,
        roll_days=settings.roll_days,
        market_data_type=settings.market_data_type,
        lease_s=settings.lease_s,
        lease_max_s=settings.lease_max_s,
        use_rth=settings.use_rth,
        snapshot_mode=settings.snapshot_mode,
        holders_max=settings.subscriptions_max,
        backfill_timeout_s=default.backfill_timeout_s * speed,
        # Fast time leaves the machine less of its own: a look takes place 20 times a second at most.
        stale_min_s=settings.stale_after_s + max(0.0, speed - 1) / 4,
        stale_probe_s=settings.stale_probe_s,
        heal=settings.heal,
        chain_lines=settings.options_max_contracts,
        chain_turns=chain_turns(settings, speed),
        sweep_s=max(default.sweep_s, speed / 20),
    )


def history(settings: Settings, speed: float = 1.0) -> HistoryConfig:
    default = HistoryConfig()
    return HistoryConfig(
        keys=Keys(settings.prefix, settings.gateway_name),
        use_rth=settings.use_rth,
        bars_max=settings.hist_max_bars_per_request,
        cache=settings.history_cache_bytes > 0,
        cache_age_s=settings.history_cache_s,
        cache_timeout_s=default.cache_timeout_s * speed,
        answer_timeout_s=default.answer_timeout_s * speed,
        lookup_timeout_s=default.lookup_timeout_s * speed,
        progress_s=default.progress_s * speed,
        small_window_s=settings.hist_pacing_window_sec + settings.pacing_window_margin_s,
    )


def gateway(settings: Settings) -> GatewayConfig:
    return GatewayConfig(
        host=settings.host,
        port=settings.port,
        connect_timeout_s=settings.connect_timeout_s,
        handshake_timeout_s=settings.handshake_timeout_s,
        pace_api=settings.pace_api,
    )


def recorder(settings: Settings) -> RecorderConfig | None:
    """None when nothing is to be recorded."""
    if settings.record_dir is None:
        return None
    return RecorderConfig(
        directory=settings.record_dir,
        gateway=settings.gateway_name,
        max_bytes=settings.record_max_bytes,
        file_bytes=settings.record_file_bytes,
    )


def embedded(settings: Settings) -> EmbeddedConfig:
    return EmbeddedConfig(
        data_dir=settings.data_dir / settings.gateway_name,
        url=settings.redis_address or "",
        port=settings.redis_port,
        memory_max_bytes=settings.redis_memory_max,
    )


def http(settings: Settings) -> HttpConfig:
    return HttpConfig(
        prefix=settings.prefix,
        gateway=settings.gateway_name,
        host=settings.http_host,
        port=settings.http_port,
        token=settings.http_token.get_secret_value() if settings.http_token is not None else "",
        cors_origins=settings.http_cors_origins,
        quote_hz=settings.http_quote_hz,
        lease_s=settings.http_lease_s,
        answer_s=settings.http_answer_s,
        clients_max=settings.http_clients_max,
        client_queue=settings.http_client_queue,
        stall_s=settings.http_stall_s,
        history_rows_max=settings.http_history_rows_max,
        history_timeout_s=settings.http_history_timeout_s,
    )


def bus(settings: Settings, redis_url: str) -> BusConfig:
    return BusConfig(
        prefix=settings.prefix,
        gateway=settings.gateway_name,
        redis=RedisConfig(url=redis_url),
        ring=RingConfig(
            records_max=settings.ring_max_records,
            bytes_max=settings.ring_max_bytes,
            replay_records_max=settings.replay_records,
        ),
        publisher=PublisherConfig(
            encoding=settings.encoding,
            flush_interval_ms=settings.flush_interval_ms,
            batch_records_max=settings.batch_max_records,
            all_kinds=frozenset(settings.all_kinds),
        ),
        retention=RetentionConfig(
            entries=settings.retention_entries,
            age_s=settings.retention_s,
            stream_ttl_s=settings.stream_ttl_s,
            history_buffer_bytes=settings.history_buffer_bytes,
            history_cache_bytes=settings.history_cache_bytes,
            memory_max_bytes=settings.redis_memory_max,
        ),
        commands=CommandConfig(commanders=settings.commanders),
        replies=ReplyConfig(
            entries=settings.replies_max, ttl_s=settings.replies_ttl_s, answered_ttl_s=settings.replies_ttl_s
        ),
        heartbeat=HeartbeatConfig(every_s=settings.heartbeat_s, ttl_s=settings.heartbeat_ttl_s),
    )
