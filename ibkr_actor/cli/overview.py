"""What one look at a running sidecar found: Redis, heartbeat, status, streams and events, as values.

Reads nothing and draws nothing; `overview_gather.py` fills it in, `top_view.py` shows it.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from ibkr_actor.schema.codec import decode_record, record_as_dict
from ibkr_actor.schema.records import AnyRecord, DataRecord, System

NS: Final = 1_000_000_000
EVENTS_KEPT: Final = 50


class Beat(Struct, frozen=True):
    """The heartbeat: who publishes."""

    gateway: str = ""
    epoch: int = 0
    pid: int = 0
    state: str = "unknown"
    version: str = ""


class Row(Struct, frozen=True, kw_only=True):
    """One stream. `state`, `reason` and `freshness` are the sidecar's words; `received_ns` is of the newest data."""

    instrument: str
    kind: str
    state: str = "pending"
    reason: str = ""
    since_ns: int | None = None
    freshness: str | None = None
    received_ns: int | None = None
    feed: int | None = None
    holders: tuple[str, ...] = ()
    newest: DataRecord | None = None
    rate_s: float | None = None


class Overview(Struct, frozen=True, kw_only=True):
    """All of it. Each part says when it was read (`*_at_ns`, None: never), and stays when the next look fails.

    `redis_error` is why Redis could not be read the last time, `answer_error` why the sidecar's answers are missing.
    """

    root: str
    redis_at_ns: int | None = None
    redis_error: str = ""
    ping_ms: float | None = None
    beat: Beat | None = None
    status: dict[str, Any] = {}
    status_at_ns: int | None = None
    answer_error: str = ""
    rows: tuple[Row, ...] = ()
    events: tuple[System, ...] = ()

    @property
    def health(self) -> Literal["no_redis", "no_sidecar", "not_ready", "no_answer", "ready"]:
        """The worst of what is wrong."""
        if self.redis_error or self.redis_at_ns is None:
            return "no_redis"
        if self.beat is None:
            return "no_sidecar"
        if self.beat.state != "ready":
            return "not_ready"
        return "no_answer" if self.answer_error else "ready"


def part(status: dict[str, Any], *path: str) -> Any:
    """A value deep in a status; None where this version of the sidecar has none."""
    value: Any = status
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def beat_of(raw: bytes | str | None) -> Beat | None:
    """The heartbeat, None when nobody publishes or the key holds something else."""
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=Beat)
    except msgspec.DecodeError:
        return None


def figures_of(raw: bytes | str | None) -> dict[str, Any]:
    """What a sidecar publishes of itself; empty when there is nothing, or something else."""
    try:
        found = msgspec.json.decode(raw or b"")
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def merged(status: dict[str, Any], figures: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
    """A status with what was published since, and when that was; None when nothing was.

    Forecasts (what waits, for how long) stay as they were answered: figures have none.
    """
    if not figures:
        return status, None
    pacing = part(status, "pacing") or {}
    told = {name: value for name, value in (figures.get("pacing") or {}).items() if name != "cooldowns"}
    counters = (part(status, "counters") or {}) | {"redis": figures.get("redis") or {}}
    fresh = {name: figures[name] for name in ("session", "ready", "subscriptions") if name in figures}
    return status | fresh | {"pacing": pacing | told, "counters": counters}, _ns(figures.get("at_ns"))


def asked_about(figures: dict[str, Any]) -> object:
    """What must be asked for again when it changes: who holds what, why, and what waits."""
    counted = figures.get("subscriptions") or {}
    pacing = figures.get("pacing") or {}
    return (
        figures.get("epoch"),
        [counted.get(name) for name in ("streams", "states", "holders")],
        [bool(pacing.get("waiting")), pacing.get("cooldowns"), pacing.get("pacing_violations")],
    )


def record_of(raw: bytes | None) -> AnyRecord | None:
    """A record as it stands in a hash of last values: msgpack or, beginning with a brace, JSON."""
    if not raw:
        return None
    try:
        return decode_record({b"j" if raw[:1] == b"{" else b"d": raw})
    except ValueError:
        return None


def row_of(instrument: str, kind: str, last: list[bytes | None], listed: dict[str, Any], before: Row | None) -> Row:
    """A stream from its last values (`LAST_FIELDS` of it), its row of a `list` (or nothing), and the look before."""
    newest_raw, state, freshness = last
    record = record_of(newest_raw)
    newest = record if record is not None and not isinstance(record, System) else None
    return Row(
        instrument=instrument,
        kind=kind,
        state=state.decode() if state else str(listed.get("state") or "pending"),
        reason=str(listed.get("reason") or ""),
        since_ns=_ns(listed.get("since_ns")),
        freshness=freshness.decode() if freshness else None,
        received_ns=newest.received_ns if newest is not None else None,
        feed=newest.feed if newest is not None else None,
        holders=tuple(str(holder.get("client", "")) for holder in listed.get("holders", ())),
        newest=newest,
        rate_s=_rate(newest, before),
    )


def last_fields(kind: str) -> list[str]:
    """The fields of `last:<instrument>` that `row_of` takes."""
    return [kind, f"state:{kind}", f"freshness:{kind}"]


def _ns(text: Any) -> int | None:
    return int(text) if isinstance(text, str) and text.isdigit() else None


def _rate(newest: DataRecord | None, before: Row | None) -> float | None:
    """Records a second between the two looks, by seq; None in a new epoch or when nothing can be said."""
    old = before.newest if before is not None else None
    if newest is None or old is None or newest.epoch != old.epoch or newest.seq < old.seq:
        return None
    passed_ns = newest.received_ns - old.received_ns
    if newest.seq == old.seq or passed_ns <= 0:
        return 0.0
    return (newest.seq - old.seq) * NS / passed_ns


def as_json(overview: Overview) -> dict[str, Any]:
    """For machines: every `*_ns` as text, records by their field names."""
    out: dict[str, Any] = {"health": overview.health}
    for name in overview.__struct_fields__:
        value = getattr(overview, name)
        out[name] = str(value) if value is not None and name.endswith("_ns") else value
    out["beat"] = msgspec.to_builtins(overview.beat)
    out["rows"] = [_row_as_json(row) for row in overview.rows]
    out["events"] = [record_as_dict(event) for event in overview.events]
    return out


def _row_as_json(row: Row) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name in row.__struct_fields__:
        value = getattr(row, name)
        out[name] = str(value) if value is not None and name.endswith("_ns") else value
    out["newest"] = record_as_dict(row.newest) if row.newest is not None else None
    out["holders"] = list(row.holders)
    return out
