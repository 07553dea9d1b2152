"""Owns the tests of the benchmark's table: medians, extents, ratios within a run, and what is called a fault.

Must not run a benchmark.
"""

from __future__ import annotations

from tests.bench.checker import Verdict
from tests.bench.contenders import Measured
from tests.bench.report import as_json, extent, faults, ratio, table


def measured(ticks_per_s: float, verdict: Verdict | None = None) -> Measured:
    return Measured(ticks=1000, seconds=1000 / ticks_per_s, cpu_s=0.5, verdict=verdict)


RESULTS = {
    "sidecar": [measured(100.0), measured(400.0), measured(200.0)],
    "ib_async": [measured(50.0), measured(100.0), measured(20.0)],
}


def test_a_ratio_is_the_median_of_the_ratios_within_each_run() -> None:
    assert ratio(RESULTS, "sidecar", "ib_async") == 4.0


def test_there_is_no_ratio_to_what_was_not_measured() -> None:
    assert ratio(RESULTS, "sidecar", "probe") is None


def test_an_extent_is_the_median_with_the_least_and_the_greatest() -> None:
    assert extent([3.0, 1.0, 2.0], ".1f") == "2.0 (1.0-3.0)"
    assert extent([3.0], ".1f") == "3.0"


def test_the_table_names_every_contender_and_the_ratio() -> None:
    text = table(RESULTS, rate=5000)
    assert "200 (100-400)" in text
    assert "sidecar / ib_async: 4.00" in text
    assert "50.00" in text  # CPU seconds per 100,000 ticks


def test_a_paced_table_states_its_percentiles() -> None:
    one = Measured(ticks=10, p50_ms=0.5, p99_ms=2.25, max_ms=9.0, verdict=Verdict(10, 10))
    text = table({"sidecar-paced": [one]}, rate=5000)
    assert all(part in text for part in ("at 5,000/s", "0.50", "2.25", "9.0", "10 whole"))


def test_a_lost_tick_is_a_fault_and_stands_in_the_table() -> None:
    results = {"sidecar": [measured(1.0, Verdict(3, 2, lost=1))]}
    assert faults(results) == ["sidecar, run 1: 2 of 3: 1 lost, 0 doubled, 0 out of order, 0 faulty"]
    assert "1 lost" in table(results, rate=1)


def test_what_the_official_client_loses_is_no_fault_of_ours() -> None:
    assert faults({"official": [measured(1.0, Verdict(3, 2, lost=1))]}) == []


def test_the_file_holds_every_measurement() -> None:
    value = as_json(RESULTS)
    assert [one["ticks_per_s"] for one in value["sidecar"]] == [100.0, 400.0, 200.0]
