"""Owns what a simulator can be told at its start: addresses, limits, market, replay, blast and journal.

Must not open a file or a socket; it only holds and checks values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from ibkr_actor.sim.desks.languages import LANGUAGES

MARKET_HOURS = ("always", "exchange")
MIN_SERVER_VERSION = 157
MAX_SERVER_VERSION = 226


class BlastSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A benchmark run of `ticks` prepared ticks spread round-robin over `instruments` subscribed lines.

    `kind`: `quote` sends one tickPrice per tick (bid and ask in turn) whose size is the instrument's running number;
    `size` sends one bid tickSize whose size is the running number; `trade` sends one AllLast or Last tick-by-tick
    whose size is the running number. Running numbers count 1, 2, 3, ... for each instrument on its own.
    `rate` is in ticks per second over all instruments; 0 means as fast as the sockets take them.
    `automatic` starts it when that many instruments have a line of the right kind; else `Simulator.start_blast()` does.
    """

    ticks: int
    instruments: int
    rate: float = 0.0
    kind: Literal["quote", "size", "trade"] = "quote"
    automatic: bool = True

    def __post_init__(self) -> None:
        if self.ticks < 1 or self.instruments < 1 or self.rate < 0:
            raise ValueError("blast: ticks and instruments must be 1 or more, rate 0 or more")


class SimulatorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a simulator needs; the defaults give a live, strict gateway on a free port.

    `server_version` caps what is negotiated. `lines` is the account's market data lines: the message rate is half of
    it per second and the number of tick-by-tick streams is 5 % of it. `ticks_per_s` is the number of market events
    per second of each subscribed instrument, 0 keeps the market silent after the first values.
    `clock_speed` 1 is real time, N runs N times as fast, 0 stands still until `Simulator.advance()`.
    `market_hours` "always" trades round the clock and keeps liquid hours; "exchange" is silent outside trading hours.
    `play` is a directory of raw frames the sidecar recorded, or one file of it: requests are answered out of it instead
    of by the market, at `play_speed` times its own speed (0: each answer at once) and at its own server version.
    `play_reuse`: a request made more often than it was recorded is answered again. `play_end`: the connection ends
    where the gateway ended the recorded one.
    `replay_speed` 0 sends all rows at once. `host_zone` is the free text behind the time of the handshake.
    `language` is that of errors and notices. `scenarios` are played from the start: shipped ones by name, or files.
    `managed_accounts_proto_from` may be 207 or 213: clients disagree and no recording decides.
    `permissions` are what the account may see, as `permissions.Permissions` reads them; None is everything.
    `pace_silently` makes every session behave as if it had asked for +PACEAPI.
    """

    host: str = "127.0.0.1"
    port: int = 0
    server_version: int = MAX_SERVER_VERSION
    accounts: tuple[str, ...] = ("DU1234567",)
    host_zone: str = "Central European Standard Time"
    host_zone_offset_s: int = 3600
    host_zone_encoding: str = "utf-8"
    managed_accounts_proto_from: int = 213
    next_valid_id: int = 1

    seed: int = 1
    ticks_per_s: float = 4.0
    initial_ticks: bool = True
    market_hours: Literal["always", "exchange"] = "always"
    clock_speed: float = 1.0
    start_time_s: float | None = None
    snapshot_s: float = 0.0
    history_latency_s: float = 0.0

    lines: int = 100
    enforce_message_rate: bool = True
    pace_silently: bool = False
    strikes: int = 3
    tick_by_tick_interval_s: float = 15.0
    real_time_bars_per_600_s: int = 60
    depth_lines: int = 3
    clients_max: int = 32
    permissions: dict[str, str] | None = None

    language: str = "en"
    scenarios: tuple[str | Path, ...] = ()

    replay_file: str | None = None
    replay_speed: float = 1.0
    replay_instrument: str = "700.STK.SEHK.HKD"
    play: str | None = None
    play_speed: float = 1.0
    play_reuse: bool = True
    play_end: bool = False
    blast: BlastSettings | None = None

    journal_file: str | None = None
    journal_payload: bool = False
    outbound_limit_bytes: int = 16 * 1024 * 1024
    handshake_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        if not MIN_SERVER_VERSION <= self.server_version <= MAX_SERVER_VERSION:
            raise ValueError(f"server_version must be {MIN_SERVER_VERSION}..{MAX_SERVER_VERSION}")
        if self.managed_accounts_proto_from not in (207, 213):
            raise ValueError("managed_accounts_proto_from must be 207 or 213")
        if self.market_hours not in MARKET_HOURS:
            raise ValueError(f"market_hours must be one of {', '.join(MARKET_HOURS)}, is {self.market_hours!r}")
        scenarios: object = self.scenarios
        if isinstance(scenarios, str):
            raise ValueError(f"scenarios must be several: ({scenarios!r},)")
        if self.language not in LANGUAGES:
            raise ValueError(f"language must be one of {', '.join(LANGUAGES)}")
        if self.play is not None and (self.replay_file is not None or self.blast is not None):
            raise ValueError("play answers everything itself: no replay_file and no blast beside it")
        try:
            self.host_zone.encode(self.host_zone_encoding)
        except (UnicodeError, LookupError) as error:
            raise ValueError(f"host_zone cannot be written in host_zone_encoding: {error}") from None
        if not self.accounts:
            raise ValueError("accounts must name at least one account")
        for name in ("ticks_per_s", "clock_speed", "replay_speed", "play_speed", "snapshot_s", "history_latency_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more")
        for name in ("lines", "outbound_limit_bytes", "strikes", "clients_max"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more")
