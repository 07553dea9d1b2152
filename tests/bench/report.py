"""Owns the table of a benchmark: medians over the runs with the extent, ratios, and what was lost.

Pure: measurements in, text out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from tests.bench.checker import Verdict
from tests.bench.contenders import Measured

Results = Mapping[str, Sequence[Measured]]

LABELS = {
    "sidecar": "sidecar (socket to Redis, full records)",
    "probe": "probe: the fenced write alone",
    "redis-py": "redis-py pipeline of XADD",
    "ib_async": "ib_async + redis-py pipeline, asyncio",
    "ib_async-blocking": "ib_async + redis-py pipeline, blocking",
    "official": "official run(), decoding into nothing",
    "official-queue": "official run(), frames queued before",
    "sidecar-paced": "sidecar",
    "probe-paced": "probe",
}
PACED = ("sidecar-paced", "probe-paced")
PEERS = ("ib_async", "ib_async-blocking", "official", "official-queue", "redis-py", "probe")
ROW = "{:<42}{:>26}{:>20}{:>10}{:>10}{:>9}  {}"
PACED_ROW = "{:<42}{:>20}{:>20}{:>22}{:>9}{:>9}  {}"


def table(results: Results, *, rate: float) -> str:
    """All there is to tell, in lines."""
    lines: list[str] = []
    unpaced = [name for name in results if name not in PACED]
    if unpaced:
        lines.append(ROW.format("unpaced", "ticks/s", "CPU s/100k", "server", "ratio", "RSS MiB", "check"))
        best = _median(results.get("sidecar", ()), lambda one: one.ticks_per_s)
        lines += [_row(name, results[name], best) for name in unpaced]
    paced = [name for name in PACED if name in results]
    if paced:
        lines += ["", PACED_ROW.format(f"at {rate:,.0f}/s, socket to XREADGROUP", "p50 ms", "p99 ms", "max ms",
                                       "CPU/100k", "server", "check")]  # fmt: skip
        lines += [_paced_row(name, results[name]) for name in paced]
    ratios = [text for peer in PEERS if (text := _ratio_text(results, "sidecar", peer))]
    if ratios:
        lines += ["", *ratios]
    return "\n".join(lines)


def faults(results: Results) -> list[str]:
    """What was not as it should be, our own and the probe's: these must be whole."""
    lines = []
    for name, measured in results.items():
        for run, one in enumerate(measured, 1):
            if name.startswith("official") or one.verdict is None or one.verdict.ok:
                continue
            lines.append(f"{name}, run {run}: {_check(one.verdict)}")
            lines += [f"  {fault}" for fault in one.verdict.faults]
    return lines


def ratio(results: Results, ours: str, theirs: str) -> float | None:
    """How many times as fast: of the runs' ratios, each within one run, the median."""
    pairs = zip(results.get(ours, ()), results.get(theirs, ()), strict=False)
    found = [a.ticks_per_s / b.ticks_per_s for a, b in pairs if a.ticks_per_s and b.ticks_per_s]
    return median(found) if found else None


def extent(values: Sequence[float], form: str) -> str:
    """The median, and the least and the greatest when there are several."""
    text = format(median(values), form)
    return text if len(values) == 1 else f"{text} ({min(values):{form}}-{max(values):{form}})"


def as_json(results: Results) -> dict[str, Any]:
    """Every measurement, for the file."""
    return {
        name: [
            {field: getattr(one, field) for field in one.__struct_fields__ if field != "verdict"}
            | {"ticks_per_s": one.ticks_per_s, "cpu_s_per_100k": one.cpu_s_per_100k}
            | {"check": None if one.verdict is None else _check(one.verdict)}
            for one in measured
        ]
        for name, measured in results.items()
    }


def _row(name: str, measured: Sequence[Measured], ours: float | None) -> str:
    theirs = _median(measured, lambda one: one.ticks_per_s)
    times = f"{ours / theirs:.2f}x" if ours and theirs else "-"
    return ROW.format(
        LABELS[name],
        _extent(measured, lambda one: one.ticks_per_s, ",.0f"),
        _extent(measured, lambda one: one.cpu_s_per_100k, ".2f"),
        _server(measured),
        times,
        _extent([_largest(measured)], lambda one: _mib(one.peak_rss_bytes), ".0f"),
        _checks(measured),
    )


def _paced_row(name: str, measured: Sequence[Measured]) -> str:
    return PACED_ROW.format(
        LABELS[name],
        _extent(measured, lambda one: one.p50_ms, ".2f"),
        _extent(measured, lambda one: one.p99_ms, ".2f"),
        _extent(measured, lambda one: one.max_ms, ".1f"),
        _extent([_middle(measured)], lambda one: one.cpu_s_per_100k, ".2f"),
        _server(measured),
        _checks(measured),
    )


def _server(measured: Sequence[Measured]) -> str:
    found = [one.server_cpu_s / one.ticks * 100_000 for one in measured if one.server_cpu_s is not None]
    return f"{median(found):.2f}" if found else "-"


def _largest(measured: Sequence[Measured]) -> Measured:
    return max(measured, key=lambda one: one.peak_rss_bytes or 0)


def _middle(measured: Sequence[Measured]) -> Measured:
    return sorted(measured, key=lambda one: one.cpu_s or 0)[len(measured) // 2]


def _mib(size: int | None) -> float | None:
    return None if size is None else size / 2**20


def _extent(measured: Sequence[Measured], of: Callable[[Measured], float | None], form: str) -> str:
    values = [value for one in measured if (value := of(one)) is not None]
    return extent(values, form) if values else "-"


def _median(measured: Sequence[Measured], of: Callable[[Measured], float | None]) -> float | None:
    values = [value for one in measured if (value := of(one)) is not None]
    return median(values) if values else None


def _ratio_text(results: Results, ours: str, theirs: str) -> str:
    times = ratio(results, ours, theirs)
    return f"{ours} / {theirs}: {times:.2f}" if times else ""


def _checks(measured: Sequence[Measured]) -> str:
    total = Verdict()
    for one in measured:
        if one.verdict is not None:
            total.add(one.verdict)
    return _check(total) if total.expected else "-"


def _check(verdict: Verdict) -> str:
    if verdict.ok:
        return f"{verdict.ticks:,} whole"
    return (
        f"{verdict.ticks:,} of {verdict.expected:,}: {verdict.lost:,} lost, {verdict.doubled:,} doubled,"
        f" {verdict.disordered:,} out of order, {verdict.faulty:,} faulty"
    )
