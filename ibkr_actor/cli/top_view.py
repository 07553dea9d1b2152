"""The frame of `ibkr-actor top`: an overview and the time, made into what rich can draw.

A pure function of both; reads no clock, no Redis, no keyboard.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, Literal

from msgspec import Struct
from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ibkr_actor.cli.demo_view import summary
from ibkr_actor.cli.overview import NS, Overview, Row, part

NARROW: Final = 72
WIDE: Final = 104
EVENTS_SHOWN: Final = 6
# Figures older than this are said to be old: the sidecar publishes them every second.
OLD_ANSWER_S: Final = 10.0
METER: Final = 6
_STYLE: Final = {
    "fresh": "green",
    "live": "green",
    "ready": "green",
    "up": "green",
    "idle": "green",
    "quiet": "cyan",
    "pending": "yellow",
    "degraded": "yellow",
    "connecting": "yellow",
    "handshaking": "yellow",
    "stale": "bold red",
    "starved": "bold red",
    "down": "bold red",
    "lost": "bold red",
}
_TROUBLE: Final = frozenset({"stale", "starved", "pending", None})


class Look(Struct, frozen=True):
    """How a person wants it: `sort` is one of SORTS, `first` the row to begin with; `keys` whether to name the keys."""

    sort: str = "name"
    trouble_only: bool = False
    first: int = 0
    keys: bool = False


def frame(overview: Overview, now_ns: int, *, width: int, height: int | None = None, look: Look | None = None) -> Group:
    """Everything, in `height` lines at most (None: as many as it takes)."""
    look = look or Look()
    above = [*_head(overview, now_ns, width), *_budgets(overview, now_ns, width)]
    below = [*_events(overview), *_foot(look)]
    room = None if height is None else max(1, height - len(above) - len(below) - 2)
    return Group(*above, *_streams(overview, now_ns, width, room, look), *below)


def _line(*pieces: str | tuple[str, str]) -> Text:
    return Text.assemble(*pieces, no_wrap=True, overflow="ellipsis")


def _head(overview: Overview, now_ns: int, width: int) -> list[RenderableType]:
    beat, session = overview.beat, part(overview.status, "session") or {}
    state, style = _state(overview)
    pieces: list[str | tuple[str, str]] = [("ibkr-actor ", "bold"), overview.root, "  ", (state, style)]
    # The state may change with every try to connect; what counts then is since when there have been no data.
    cut_ns = [row.since_ns for row in overview.rows if row.state == "starved" and row.since_ns is not None]
    if overview.health == "not_ready" and cut_ns:
        pieces.append(f", no data for {span(now_ns - min(cut_ns))}")
    elif overview.health in ("ready", "not_ready", "no_answer") and session.get("since_ns"):
        pieces.append(f" for {span(now_ns - int(session['since_ns']))}")
    if not _believed(overview):
        session, beat = {}, None
    if width >= NARROW and beat is not None:
        server, offset = session.get("server_version"), session.get("clock_offset_ms")
        pieces.append(f"  client {session.get('client_id', '-')}  server {server or '-'}")
        pieces.append(f"  clock {offset:+.0f} ms" if offset is not None else "")
    if width >= WIDE and beat is not None:
        pieces.append(f"  v{beat.version}  pid {beat.pid}  epoch {beat.epoch}")
    out: list[RenderableType] = [_line(*pieces)]
    if (trouble := _trouble(overview, now_ns)) is not None:
        out.append(_line((trouble, "bold red")))
    return out


def _state(overview: Overview) -> tuple[str, str]:
    match overview.health:
        case "no_redis":
            return "no Redis", "bold red"
        case "no_sidecar":
            return "no sidecar", "bold red"
        case "ready":
            return "ready", "bold green"
    state = overview.beat.state if overview.beat is not None else "unknown"
    return state.replace("_", " "), "bold yellow" if state != "ready" else "bold green"


def _trouble(overview: Overview, now_ns: int) -> str | None:
    """The one sentence that must not be missed, and from when what is below it is."""
    match overview.health:
        case "no_redis" if overview.redis_at_ns is None:
            return f"Redis does not answer: {overview.redis_error or 'not asked yet'}"
        case "no_redis":
            age = span(now_ns - (overview.redis_at_ns or now_ns))
            return f"Redis does not answer: {overview.redis_error}. What follows is {age} old."
        case "no_sidecar":
            return "Nobody publishes: there is no heartbeat. What follows is what the last sidecar left."
        case "no_answer":
            return f"{overview.answer_error}; who holds what may be old".capitalize()
        case "not_ready":
            error = part(overview.status, "session", "last_error")
            return f"The gateway is not usable{': ' + str(error) if error else '.'}"
    return None


def _budgets(overview: Overview, now_ns: int, width: int) -> list[RenderableType]:
    if not overview.status or not _believed(overview):
        return []  # what was true of a sidecar that is gone, or of a Redis that is not read, says nothing
    status = overview.status
    counts = part(status, "subscriptions") or {}
    lines = [
        (name.replace("_", "-"), part(counts, name, "taken"), part(counts, name, "of"))
        for name in ("lines", "tick_by_tick", "depth")
    ]
    windows = part(status, "pacing", "windows") or {}
    pacing = [
        (f"{name.replace('_', ' ')}/{_second(value['window_s'])}", value["used"], value["count"])
        for name, value in windows.items()
    ]
    out = [
        _meters("budget", lines, width),
        _meters("pacing", pacing, width) if pacing else None,
        _pacing_trouble(part(status, "pacing") or {}),
        _farms(part(status, "session", "farms") or {}),
        _redis(overview),
        _gaps(overview),
    ]
    age_ns = now_ns - (overview.status_at_ns or now_ns)
    if age_ns > OLD_ANSWER_S * NS:
        out.append(_line((f"these budgets are {span(age_ns)} old", "red")))
    return [line for line in out if line is not None]


def _meters(title: str, meters: list[tuple[str, Any, Any]], width: int) -> Text:
    """Name, bar and figures of each; without the bars where they do not fit."""
    known = [(name, int(used), int(of)) for name, used, of in meters if used is not None and of]
    lines = (_meter_line(title, known, bars=bars) for bars in (True, False))
    return next((line for line in lines if line.cell_len <= width), _meter_line(title, known, bars=False))


def _meter_line(title: str, meters: list[tuple[str, int, int]], *, bars: bool) -> Text:
    line = _line((title, "dim"))
    for name, used, of in meters:
        filled = min(METER, -(-METER * used // of))
        style = "red" if used >= of else "yellow" if used >= 0.8 * of else "green"
        bar = "\u2588" * filled + "\u2591" * (METER - filled) + " " if bars else ""
        line.append("  ").append(f"{name} ").append(bar, style).append(f"{used}/{of}", style)
    return line


def _second(window_s: float) -> str:
    return "s" if window_s == 1 else f"{window_s:g}s"


def _pacing_trouble(pacing: dict[str, Any]) -> Text | None:
    waiting, paused_s = pacing.get("waiting", 0), pacing.get("paused_s", 0)
    cooldowns, violations = pacing.get("cooldowns") or [], pacing.get("pacing_violations", 0)
    if not (waiting or paused_s or cooldowns or violations):
        return None
    return _line(
        ("queue   ", "dim"),
        f"{waiting} waiting, drained in {pacing.get('drained_in_s', 0):.1f} s",
        (f"  paused {paused_s:.1f} s" if paused_s else "", "yellow"),
        (f"  {len(cooldowns)} cooling down" if cooldowns else "", "yellow"),
        (f"  {_count(violations, 'violation')}" if violations else "", "red"),
    )


def _farms(farms: dict[str, str]) -> Text | None:
    if not farms:
        return None
    well = [name for name, state in farms.items() if state in ("up", "idle")]
    ill = [(name, state) for name, state in farms.items() if state not in ("up", "idle")]
    pieces: list[str | tuple[str, str]] = [("farms   ", "dim")]
    for name, state in ill:
        pieces += [(f"{name} {state}", _STYLE.get(state, "yellow")), "  "]
    return _line(*pieces, (f"{len(well)} up  ", "green"), (" ".join(sorted(well)), "dim"))


def _redis(overview: Overview) -> Text:
    counters = part(overview.status, "counters", "redis") or {}
    state = str(counters.get("redis_state", "unknown"))
    pieces: list[str | tuple[str, str]] = [("redis   ", "dim"), (state, _STYLE.get(state, "yellow"))]
    if overview.ping_ms is not None:
        pieces.append(f"  ping {overview.ping_ms:.1f} ms")
    pieces.append(f"  {counters.get('redis_waiting', 0)} waiting")
    pieces.append(f"  {counters.get('redis_used_bytes', 0) / 2**20:.1f} MiB")
    pieces.append(f"  {counters.get('redis_published', 0)} published")
    return _line(*pieces)


def _gaps(overview: Overview) -> Text:
    """What is missing now, and what the sidecar itself had to give up; each such loss is a `gap` in its stream."""
    starved = sum(row.state == "starved" for row in overview.rows)
    stale = sum(row.state != "starved" and row.freshness == "stale" for row in overview.rows)
    lost = {cause: count for cause, count in lost_records(overview).items() if count}
    cut = [(f"{_count(starved, 'stream')} cut off  ", "bold red")] if starved else []
    silent = [(f"{_count(stale, 'stream')} silent  ", "bold red")] if stale else []
    told = ", ".join(f"{count} {cause}" for cause, count in lost.items())
    losses = (f"{_count(sum(lost.values()), 'record')} lost: {told}", "bold red") if lost else ("no record lost", "")
    return _line(("gaps    ", "dim"), *cut, *silent, losses)


def lost_records(overview: Overview) -> dict[str, int]:
    """Records lost in the sidecar, by cause; each is a `gap` in its stream."""
    counters = part(overview.status, "counters", "redis") or {}
    return {cause: int(counters.get(f"redis_lost_{cause}", 0)) for cause in ("overflow", "conflated", "restart")}


def _streams(overview: Overview, now_ns: int, width: int, room: int | None, look: Look) -> list[RenderableType]:
    rows = [row for row in overview.rows if not look.trouble_only or _is_trouble(row)]
    rows = _sorted(rows, look.sort)
    first = min(look.first, max(0, len(rows) - (room or len(rows))))
    shown = rows[first:] if room is None else rows[first : first + room]
    believed = _believed(overview)
    cells = [_cells(row, now_ns, width, believed) for row in shown]
    hidden = len(rows) - len(shown)
    title = _count(len(rows), "stream") + (" in trouble" if look.trouble_only else "") + f", by {look.sort}"
    title += f", {first + 1} to {first + len(shown)}" if hidden and shown else ""
    return [Rule(Text(title, "dim"), align="left", style="dim", characters="\u2500"), _table(cells, width)]


def _believed(overview: Overview) -> bool:
    """Whether what is known of states and budgets is of a sidecar that is there."""
    return overview.health not in ("no_redis", "no_sidecar")


def _table(rows: list[list[Text]], width: int) -> Table:
    """Only the newest values give way where the terminal is narrow."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    columns = _columns(width)
    widest = [max([len(title), *(row[number].cell_len for row in rows)]) for number, (title, _) in enumerate(columns)]
    left = width - sum(size + 2 for size, (title, _) in zip(widest, columns, strict=True) if title != "newest")
    for size, (title, justify) in zip(widest, columns, strict=True):
        room = min(size, max(left, len(title))) if title == "newest" else size
        table.add_column(title, justify=justify, no_wrap=True, overflow="ellipsis", min_width=room, max_width=room)
    for row in rows:
        table.add_row(*row)
    return table


def _columns(width: int) -> list[tuple[str, Literal["left", "right"]]]:
    """The columns of `_cells`."""
    out: list[tuple[str, Literal["left", "right"]]] = [
        ("instrument" if width >= NARROW else "", "left"),
        ("kind", "left"),
        ("state", "left"),
    ]
    out.append(("age", "right"))
    if width >= NARROW:
        out.append(("rec/s", "right"))
    out.append(("newest", "left"))
    if width >= WIDE:
        out.append(("holders", "left"))
    return out


def _cells(row: Row, now_ns: int, width: int, believed: bool) -> list[Text]:
    label, style = row_state(row) if believed else ("unknown", "dim")
    name = row.instrument if width >= NARROW else row.instrument.split(".")[0]
    age = span(now_ns - row.received_ns) if row.received_ns is not None else "-"
    cells = [Text(name), Text(row.kind), Text(label, style), Text(age, style if style != "green" else "")]
    if width >= NARROW:
        cells.append(Text("-" if row.rate_s is None or not believed else f"{row.rate_s:.1f}"))
    newest = summary(row.newest) if row.newest is not None else "-"
    cells.append(Text(newest, "" if believed and style == "green" else "dim"))
    if width >= WIDE:
        cells.append(Text(", ".join(row.holders) or "-", "dim"))
    return cells


def row_state(row: Row) -> tuple[str, str]:
    """What to say of a stream: its freshness, or its state where that says more; delayed and frozen data are named."""
    if row.state == "starved":
        return f"starved: {row.reason}" if row.reason else "starved", _STYLE["starved"]
    label = row.freshness or row.state
    feed = {2: " frozen", 3: " delayed", 4: " delayed-frozen"}.get(row.feed or 1, "")
    return label + feed, _STYLE.get(label, "")


def _is_trouble(row: Row) -> bool:
    return row.state in _TROUBLE or row.freshness in _TROUBLE


def _sorted(rows: list[Row], sort: str) -> list[Row]:
    """Ties stay in the order of names."""
    match sort:
        case "age":
            return sorted(rows, key=lambda row: row.received_ns or 0)
        case "rate":
            return sorted(rows, key=lambda row: -(row.rate_s or 0.0))
        case "state":
            return sorted(rows, key=lambda row: (not _is_trouble(row), row_state(row)[0]))
    return rows


def _events(overview: Overview) -> list[RenderableType]:
    newest = overview.events[-EVENTS_SHOWN:]
    out: list[RenderableType] = [Rule(Text("events", "dim"), align="left", style="dim", characters="\u2500")]
    for event in newest:
        at = datetime.fromtimestamp(event.at_ns / NS, UTC).strftime("%H:%M:%S")
        code = f" ({event.code})" if event.code is not None else ""
        what = (f"{event.event}{code}", _STYLE.get(event.event, ""))
        out.append(_line((f"{at}  {event.topic} ", "dim"), what, f"  {event.message}"))
    return out


def _foot(look: Look) -> list[RenderableType]:
    if not look.keys:
        return []
    return [_line(("q quit  s sort  f only trouble  up/down scroll", "dim"))]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def span(ns: int) -> str:
    """A length of time in at most two units: `0.4s`, `12s`, `3m05s`, `2h14m`, `5d03h`."""
    seconds = max(0, ns) / NS
    if seconds < 10:
        return f"{int(seconds * 10) / 10:.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3_600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3_600}h{whole % 3_600 // 60:02}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3_600:02}h"
