"""/metrics: the replaced system's seven names with correct behaviour, and ours, in whatever process serves them."""

from __future__ import annotations

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ibkr_actor.bus.config import PublisherConfig, RetentionConfig
from ibkr_actor.bus.latency import BUCKETS_S, Histogram, Latencies
from ibkr_actor.bus.stamper import Stamper
from ibkr_actor.bus.streams import Entry
from ibkr_actor.http.exposition import COUNTERS, GAUGES, exposition
from ibkr_actor.http.metrics import Metrics
from ibkr_actor.schema.keys import Keys, Stream
from ibkr_actor.schema.records import FLAG_REFILLED, Gap, Trade
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import DEADLINE_S, breath, running_house, running_redis
from tests.http.kit import serving, some, streaming

pytestmark = pytest.mark.anyio

REPLACED = {
    "ibkr_requests_total", "ibkr_active_connections", "ibkr_request_duration_seconds_count", "ibkr_bars_streamed_total",
    "ibkr_quotes_streamed_total", "ibkr_ticks_total", "ibkr_connection_uptime_seconds",
}  # fmt: skip
Samples = dict[str, list[tuple[dict[str, str], float]]]


def samples(text: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def value(found: Samples, name: str, **labels: str) -> float:
    (number,) = [number for have, number in found[name] if labels.items() <= have.items()]
    return number


async def test_the_numbers_of_a_running_sidecar_reach_a_process_of_its_own() -> None:
    async with (
        Simulator(SimulatorSettings(ticks_per_s=50.0)) as sim,
        running_redis() as server,
        running_house(server.own_url, sim.port, heartbeat_s=0.1),
        serving(server.own_url, verdict_s=0.1) as http,
        streaming(http, "/api/v1/stream/records", symbols="AAPL", kinds="quote,trade", hz="0") as stream,
    ):
        await some(stream, 20)
        with anyio.fail_after(DEADLINE_S):
            while True:
                found = samples((await http.get("/metrics")).text)
                ticks = sum(number for _, number in found.get("ibkr_ticks_total", []))
                live = ({"state": "live"}, 2.0) in found.get("ibkr_actor_lines", [])
                fresh = ({"freshness": "fresh"}, 2.0) in found.get("ibkr_actor_lines_freshness", [])
                if ticks >= 20 and live and fresh:
                    break
                await breath()
        assert value(found, "ibkr_ticks_total", symbol="AAPL") >= 20
        assert set(found) >= REPLACED
        assert set(found) >= {name for name, _, _ in GAUGES} | {f"{name}_total" for name, _, _ in COUNTERS}
        assert value(found, "ibkr_active_connections") == 1
        assert value(found, "ibkr_connection_uptime_seconds") > 0
        assert value(found, "ibkr_quotes_streamed_total") > 0
        assert value(found, "ibkr_actor_up") == 1
        assert value(found, "ibkr_actor_connection_state", state="ready") == 1
        assert value(found, "ibkr_actor_redis_state", state="up") == 1
        assert value(found, "ibkr_actor_budget_limit", budget="lines") == 100
        assert value(found, "ibkr_actor_budget_used", budget="lines") == 1
        assert value(found, "ibkr_actor_budget_used", budget="tick_by_tick") == 1
        assert value(found, "ibkr_actor_received_to_published_seconds_count") > 0
        assert value(found, "ibkr_actor_ib_to_received_seconds_count") > 0
        assert value(found, "ibkr_actor_published_to_consumed_seconds_count") > 0
        assert value(found, "ibkr_actor_records_written_total") >= 20


async def test_no_label_takes_values_without_bound() -> None:
    async with running_redis() as server, serving(server.own_url) as http:
        before = samples((await http.get("/metrics")).text)
        for n in range(20):
            await http.get(f"/nothing-{n}")
            await http.request(f"ODD{n}", "/health")
        after = samples((await http.get("/metrics")).text)
    new = {
        (name, *sorted(labels.items()))
        for name, rows in after.items()
        for labels, _ in rows
        if (labels, name) not in [(had, name) for had, _ in before.get(name, [])]
    }
    # /health, /metrics itself and `other`, however many paths and methods were tried.
    assert len({row for row in new if row[0] == "ibkr_requests_total"}) <= 3
    assert len({row for row in new if row[0] == "ibkr_request_duration_seconds_count"}) <= 3


def test_without_a_sidecar_its_numbers_are_absent_and_that_is_said() -> None:
    found = samples(exposition(Metrics(), None, own={}).decode())
    assert value(found, "ibkr_actor_up") == 0
    assert "ibkr_connection_uptime_seconds" not in found


def test_a_histogram_counts_each_value_once_in_its_bucket() -> None:
    histogram = Histogram()
    for seconds in (0.0, BUCKETS_S[0], 0.0003, 59.0, 61.0, 1e9):
        histogram.observe(seconds)
    assert sum(histogram.counts) == 6
    assert (histogram.counts[0], histogram.counts[2], histogram.counts[-2], histogram.counts[-1]) == (2, 1, 1, 2)


def trade(received_ns: int, source_ns: int | None, flags: int = 0) -> Trade:
    return Trade(0, 0, 7, received_ns, source_ns, 1, flags, 1.0, "1", "ARCA", "", False, False)


@pytest.mark.parametrize("encoding", ["msgpack", "json"])
def test_latencies_are_of_the_oldest_record_of_a_write(encoding: str) -> None:
    config = PublisherConfig(encoding="json" if encoding == "json" else "msgpack")
    stamper = Stamper(Keys(), 1, config, RetentionConfig())
    entries: list[Entry] = []
    stream = Stream("trade", "AAPL.STK.SMART.USD")
    stamper.stamp([(stream, trade(1_000_000_000, None)), (stream, trade(2_000_000_000, None))], entries)
    latencies = Latencies()
    latencies.written(entries[1:], 3_000_000_000)
    assert latencies.received_to_published.sum_s == 2.0
    # A reset that waits for its past is no record of IB's.
    latencies.written(entries[:1], 3_000_000_000)
    assert sum(latencies.received_to_published.counts) == 1


def test_ibs_time_is_looked_at_where_it_sends_one_and_not_for_history() -> None:
    latencies = Latencies()
    latencies.burst(trade(2_500_000_000, 2_000_000_000))
    latencies.burst(trade(2_500_000_000, None))
    latencies.burst(trade(9_500_000_000, 2_000_000_000, FLAG_REFILLED))
    assert latencies.ib_to_received.sum_s == 0.5
    assert sum(latencies.ib_to_received.counts) == 1


def test_ticks_and_gaps_are_counted_as_they_are_stamped() -> None:
    stamper = Stamper(Keys(), 1, PublisherConfig(), RetentionConfig())
    streams = [Stream("trade", "BRK%20B.STK.SMART.USD"), Stream("quote", "BRK%20B.STK.SMART.USD")]
    for stream in streams:
        stamper.stamp([(stream, trade(1, None)), (stream, trade(2, None))], [])
    stamper.stamp([(streams[0], Gap(0, 0, 7, 0, None, 1, 0, "stall", None, None))], [])
    assert stamper.gaps == {"stall": 1}
    assert stamper.ticks() == {"BRK B": 5}
    stamper.close(streams[0])
    assert stamper.ticks() == {"BRK B": 5}
    stamper.close(streams[1])
    assert stamper.ticks() == {}
