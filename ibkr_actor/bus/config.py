"""Settings of the bus, as frozen Structs with their defaults; `settings` fills them.

Holds values only: reads no environment and checks nothing that needs a server.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

from ibkr_actor.schema.codec import Encoding

MIB: Final = 1024 * 1024


class RedisConfig(Struct, frozen=True, kw_only=True):
    """How to reach Redis. `url` is redis://, rediss:// or unix://, with user and password in it."""

    url: str = "redis://127.0.0.1:6379/0"
    connect_timeout_s: float = 5.0
    # How long one exchange may take before the connection counts as lost. A frozen server answers late, not never:
    # the write is then repeated with the same ids, so a short time costs nothing but the attempt.
    answer_timeout_s: float = 10.0
    backoff_min_s: float = 0.02
    backoff_max_s: float = 1.0


class RingConfig(Struct, frozen=True, kw_only=True):
    """Bounds of the ring. The default holds 60 s at 5,000 records/s, with room to spare."""

    records_max: int = 400_000
    bytes_max: int = 128 * MIB
    # Written records kept for a server that comes back with older data. AOF everysec can lose about 2 s.
    replay_records_max: int = 50_000
    # When full, this share of the bound is freed at once, so that shedding costs little per record.
    headroom: float = 0.05


class PublisherConfig(Struct, frozen=True, kw_only=True):
    """How records are written."""

    encoding: Encoding = "msgpack"
    # 0: the next batch leaves as soon as the previous one is answered.
    flush_interval_ms: float = 0.0
    batch_records_max: int = 2_000
    batch_bytes_max: int = MIB
    # Kinds that are written to `all:<kind>` as well.
    all_kinds: frozenset[str] = frozenset()
    # How long a refused server (out of memory, loading) is left alone between attempts.
    refused_retry_max_s: float = 1.0
    # How often a stream that cannot be written (its key holds another type) is tried again.
    parked_retry_s: float = 5.0


class RetentionConfig(Struct, frozen=True, kw_only=True):
    """How much is kept. An age of 0 means by number only."""

    entries: int = 10_000
    entries_by_kind: dict[str, int] = field(default_factory=dict)
    age_s: float = 0.0
    age_s_by_kind: dict[str, float] = field(default_factory=dict)
    stream_ttl_s: float = 86_400.0
    # How long the result of a history job is kept after its last entry.
    history_ttl_s: float = 86_400.0
    # Unread bytes of one job above which it waits for its reader.
    history_buffer_bytes: int = 64 * MIB
    # What windows of bars may take in the cache; 0 keeps none.
    history_cache_bytes: int = 64 * MIB
    memory_max_bytes: int = 1024 * MIB
    # Retention halves above `memory_high` of the budget and doubles again below `memory_low`.
    memory_high: float = 0.8
    memory_low: float = 0.6
    every_s: float = 10.0

    def entries_of(self, kind: str) -> int:
        return self.entries_by_kind.get(kind, self.entries)

    def age_s_of(self, kind: str) -> float:
        return self.age_s_by_kind.get(kind, self.age_s)


class CommandConfig(Struct, frozen=True, kw_only=True):
    """How commands are read. `commanders` are the clients with a command stream of their own."""

    commanders: tuple[str, ...] = ()
    group: str = "ibkr_actor"
    # Source: RELIABILITY.md, "Known traps": readers block for at most 2 s.
    block_ms: int = 2_000
    read_count: int = 64
    in_flight_max: int = 1_000
    # Attempts after which a command goes to `dead`.
    attempts_max: int = 3
    # How often entries pending to dead consumers are looked for.
    claim_every_s: float = 5.0
    # A backlog above this, while `in_flight_max` commands wait for their answer, is answered `busy`.
    backlog_max: int = 100_000
    dead_max: int = 1_000


class ReplyConfig(Struct, frozen=True, kw_only=True):
    """How replies are written. JSON by default: people read them."""

    encoding: Encoding = "json"
    entries: int = 1_000
    ttl_s: float = 3_600.0
    # Remembered answers of one client before the older half is forgotten.
    answered_max: int = 10_000
    answered_ttl_s: float = 3_600.0
    queue_max: int = 10_000
    pipeline_max: int = 64


class HeartbeatConfig(Struct, frozen=True, kw_only=True):
    """The heartbeat key: written every `every_s`, gone `ttl_s` after the last write."""

    every_s: float = 1.0
    ttl_s: float = 5.0


class BusConfig(Struct, frozen=True, kw_only=True):
    """Everything the bus needs to know."""

    prefix: str = "ibkr"
    gateway: str = "g1"
    redis: RedisConfig = RedisConfig()
    ring: RingConfig = RingConfig()
    publisher: PublisherConfig = PublisherConfig()
    retention: RetentionConfig = RetentionConfig()
    commands: CommandConfig = CommandConfig()
    replies: ReplyConfig = ReplyConfig()
    heartbeat: HeartbeatConfig = HeartbeatConfig()
