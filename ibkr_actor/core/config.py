"""Owns what each core can be told before it starts, with defaults and where they come from.

Reads no environment and no file: the app builds these from its settings.
"""

from __future__ import annotations

from msgspec import Struct

from ibkr_actor.core.chains.turns import TurnsConfig
from ibkr_actor.core.session.reset_windows import NORTH_AMERICA, ResetWindow
from ibkr_actor.schema.keys import Keys

# Source: IBKR, "Market Data Lines": 100 at least, shared with the windows of TWS.
LINES_DEFAULT = 100


class SessionConfig(Struct, frozen=True):
    """How to keep one connection.

    `client_ids` are tried in order when IB says that one is in use (326). `market_data_type` 1 live, 2 frozen,
    3 delayed, 4 delayed-frozen. `max_attempts` counts tries in a row without success, 0 for ever; after the last the
    session is `failed` and the process stays up, so that status, history in Redis and a new start remain possible.
    `stable_s` is how long a connection must have been ready before backoff starts anew. After `login_after` connections
    in a row that the gateway took in vain it is said to wait for its login, and tried every `login_retry_s`; in one of
    the `reset_windows` tries are `scheduled_retry_s` apart at most.
    A gateway of which nothing was heard for `heartbeat_interval_s` is asked for its time. When it leaves it unanswered
    for `mute_s` nothing of it is to be expected, and after `heartbeat_timeout_s` the connection is given up.
    """

    client_ids: tuple[int, ...] = (17,)
    market_data_type: int = 1
    reconnect_enabled: bool = True
    backoff_initial_s: float = 0.25
    backoff_max_s: float = 5.0
    max_attempts: int = 0
    ready_timeout_s: float = 30.0
    heartbeat_interval_s: float = 5.0
    heartbeat_timeout_s: float = 25.0
    mute_s: float = 2.0
    stop_timeout_s: float = 5.0
    stable_s: float = 30.0
    login_after: int = 3
    login_retry_s: float = 15.0
    scheduled_retry_s: float = 15.0
    reset_windows: tuple[ResetWindow, ...] = NORTH_AMERICA


class PacingConfig(Struct, frozen=True):
    """How fast to ask.

    `lines` gives the message rate, lines/2 a second. The margins stretch each window, since IB counts on receipt:
    what was sent within a longer time may arrive within IB's second when the network or its loop was held up.
    `rate_pause_s` is how long everything waits after error 100. Source: IBKR, "Pacing Limitations".

    `small_bars_*` is the window that history of 30-second bars and less, real-time bars, head timestamps and
    historical ticks share; `open_max` how many history requests may be unanswered at a time. Of bars of a minute and
    more, for which IB names no hard limit, `big_bars_open_max` may be unanswered and `big_bars_per_s` leave a second.
    Source: IBKR, "Historical Data Limitations".

    After IB's pacing error what shares its limit waits `cooldown_s`, twice as long each time, `cooldown_max_s` at most.
    While those of a lower number wait, each other priority still gets one turn in `lower_priority_every`. A withdrawn
    request that IB cannot cancel counts as open for `abandon_s`; `answer_s` is how long an answer is taken to last
    until answers were seen. What was sent is written before it leaves, as long as more than `unsaved_max`
    requests would be lost with the process, else every `write_every_s`.
    """

    lines: int = LINES_DEFAULT
    message_margin_s: float = 0.5
    window_margin_s: float = 0.5
    queue_max: int = 10_000
    rate_pause_s: float = 5.0
    small_bars_count: int = 60
    small_bars_window_s: float = 600.0
    open_max: int = 50
    big_bars_open_max: int = 40
    big_bars_per_s: int = 30
    lower_priority_every: int = 20
    cooldown_s: float = 600.0
    cooldown_max_s: float = 3600.0
    abandon_s: float = 60.0
    answer_s: float = 2.0
    write_every_s: float = 1.0
    unsaved_max: int = 0


class ReferenceConfig(Struct, frozen=True):
    """How to ask one-off questions. A whole expiry of options may take `listing_timeout_s`; `at_a_time` are asked for.

    `members_max` bounds the options of one chain: later expiries are left out when it is reached.
    """

    timeout_s: float = 30.0
    listing_timeout_s: float = 120.0
    pending_max: int = 10_000
    at_a_time: int = 5
    members_max: int = 10_000
    max_asks: int = 3


class ContractsConfig(Struct, frozen=True):
    """How to resolve. Contracts change rarely but trading hours daily, hence a day for the positive entries.

    `pending_max` bounds the commands that wait for IB; `matches_max` the rows kept of one answer.
    """

    ttl_s: float = 86_400.0
    negative_ttl_s: float = 300.0
    timeout_s: float = 30.0
    pending_max: int = 10_000
    cache_max: int = 20_000
    matches_max: int = 1000
    candidates_max: int = 50
    max_asks: int = 3


class SubscriptionsConfig(Struct, frozen=True):
    """What may be held, and for how long.

    `lines` is the login's market data lines; tick-by-tick streams may be 5 % of them, at least one (Source: IBKR,
    "Tick-by-Tick Data"). A stream with a backfill holds `backfill_held_max` live records until its history is there; at
    most `backfill_days` of it. Without live data for `backfill_wait_s` what there is is fetched before; IB's history is
    taken to be complete `backfill_settle_s` after a second, and not to come when it takes longer than
    `backfill_timeout_s`; a restart looks for its end until `backfill_keep_s` after it was published.
    `prove_s` is how long a line with a permission warning may stay silent; `probe_s` how often a line silenced by a
    competing session is asked for again. `lease_s` is the lease of who names none; 0 never ends.
    `snapshots_max` commands may wait for a snapshot, each `snapshot_timeout_s` at most; IB takes 11 s for one.
    `kept_bars` of IB's 50 open requests of history may be bars that are kept up to date: the rest is for jobs.
    `depth_lines` order books may be open, each `depth_rows` deep (Source: IBKR, "Market Depth Data": 3 at least).
    `heal` is for holders who do not say whether gaps are to be refilled; `heals_max` of them may wait, and
    `heals_open_max` are fetched at a time, so that pacing's queue stays short for who is in a hurry.
    A continuous future shows the future that IB shows, or with `roll_days` the next one whose last day is more than so
    many days away; IB is asked every `roll_look_s`.
    Every `hours_look_s` contracts whose hours IB listed for little more than a day from now are asked for again.
    A line that is silent in market hours is stale after `stale_min_s` at the earliest, and asked for again after
    `stale_probe_s` (0: never); every `sweep_s` all lines are looked at (0: never).
    A chain of options takes `chain_lines` at most, gives its members turns by `chain_turns`, and is looked up again
    every `chain_refresh_s`.
    """

    keys: Keys = Keys()
    lines: int = LINES_DEFAULT
    kept_bars: int = 30
    depth_lines: int = 3
    depth_rows: int = 10
    snapshots_max: int = 50
    snapshot_timeout_s: float = 20.0
    market_data_type: int = 1
    lease_s: float = 0.0
    lease_max_s: float = 7 * 86_400.0
    use_rth: bool = False
    snapshot_mode: bool = False
    stale_min_s: float = 7.0
    stale_probe_s: float = 30.0
    sweep_s: float = 1.0
    probe_s: float = 60.0
    prove_s: float = 15.0
    holders_max: int = 10_000
    waiting_max: int = 10_000
    backfill_days: int = 7
    backfill_held_max: int = 50_000
    backfill_wait_s: float = 10.0
    backfill_settle_s: float = 2.0
    backfill_timeout_s: float = 3_600.0
    backfill_keep_s: float = 30.0
    hours_look_s: float = 600.0
    roll_days: int = 0
    roll_look_s: float = 1_800.0
    heal: bool = False
    heals_max: int = 5_000
    heals_open_max: int = 20
    chain_lines: int = 50
    chains_max: int = 20
    chain_turns: TurnsConfig = TurnsConfig()
    chain_refresh_s: float = 14_400.0
    max_asks: int = 3


class HistoryConfig(Struct, frozen=True):
    """How to ask for the past.

    `windows_ahead` parts of one job are asked for or wait for their turn at a time; `unwritten_max` entries of it may
    wait for Redis. `bars_max` bounds the bars of one answer. A request that IB does not answer in `answer_timeout_s` is
    repeated, `tries_max` times in all; words of error 162 that are not known are tried again after `unclear_retry_s`,
    which is more than the 15 s in which IB takes no identical request. `small_*`, and pacing's
    word every `forecast_s`, only serve to tell when a job will be done. Source: IBKR, "Historical Data Limitations".

    With `cache` windows are looked for there first: one kept for `cache_age_s` is not taken any more, and one not found
    in `cache_timeout_s` is asked of IB.
    """

    keys: Keys = Keys()
    use_rth: bool = False
    cache: bool = False
    cache_age_s: float = 86_400.0
    cache_timeout_s: float = 2.0
    bars_max: int = 20_000
    windows_ahead: int = 6
    unwritten_max: int = 400
    answer_timeout_s: float = 60.0
    tries_max: int = 3
    unclear_retry_s: float = 16.0
    progress_s: float = 2.0
    forecast_s: float = 5.0
    jobs_max: int = 2_000
    lookups_max: int = 1_000
    lookup_timeout_s: float = 30.0
    contracts_max: int = 5_000
    shown_max: int = 100
    small_count: int = 60
    small_window_s: float = 600.5
    big_window_s: float = 0.2
