"""Owns the tests of recorded data played as one instrument: one message per row, in order, at its pace.

Must not need the recordings to pass; the test that plays them is skipped without them.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from ibkr_actor.sim import ReplayError, Simulator, SimulatorSettings
from ibkr_actor.sim.replay.rows import Cursor, load_recording
from tests.sim.peers import FIXED_START_S, Peer, connected, stock

pytestmark = pytest.mark.anyio
RECORDING = Path(__file__).parents[3] / "shared" / "recordings" / "level1_hk_stock_2022-01-07.jsonl.gz"
ROWS: list[dict[str, Any]] = [
    {"time": "2022-01-07T05:58:09.500000+00:00", "tick_type": 0, "price": 443.6, "size": 10800.0},
    {"time": "2022-01-07T05:58:10.000000+00:00", "tick_type": 1, "price": 443.4, "size": 300.0},
    {"time": "2022-01-07T05:58:10.000000+00:00", "tick_type": 4, "price": 443.6, "size": 0.5},
    {"time": "2022-01-07T05:58:14.500000+00:00", "tick_type": 8, "price": 0.0, "size": 12345.0},
]


def _file(tmp_path: Path, rows: list[dict[str, Any]], *, packed: bool = False) -> str:
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path = tmp_path / ("rows.jsonl.gz" if packed else "rows.jsonl")
    path.write_bytes(gzip.compress(text) if packed else text)
    return str(path)


def _settings(path: str, **changes: Any) -> SimulatorSettings:
    values: dict[str, Any] = {"clock_speed": 0.0, "start_time_s": FIXED_START_S, "replay_file": path}
    return SimulatorSettings(**(values | changes))


def _rows_seen(peer: Peer, req_id: int) -> list[tuple[int, float | None, float]]:
    """(tick type, price, size) of each wire message; the size callback after a price belongs to the price."""
    seen: list[tuple[int, float | None, float]] = []
    paired = {1: 0, 2: 3, 4: 5}
    for name, *arguments in peer.recorder.calls:
        if name == "tickPrice" and arguments[0] == req_id:
            seen.append((arguments[1], arguments[2], -1.0))
        elif name == "tickSize" and arguments[0] == req_id:
            tick_type, size = arguments[1], float(arguments[2])
            if seen and seen[-1][2] == -1.0 and paired[seen[-1][0]] == tick_type:
                seen[-1] = (seen[-1][0], seen[-1][1], size)
            else:
                seen.append((tick_type, None, size))
    return seen


def _expected(rows: list[dict[str, Any]]) -> list[tuple[int, float | None, float]]:
    sizes = (0, 3, 5, 8)
    return [(row["tick_type"], None if row["tick_type"] in sizes else row["price"], row["size"]) for row in rows]


@pytest.mark.parametrize("version", [178, 206, 226])
@pytest.mark.parametrize("packed", [False, True])
async def test_each_row_is_one_message_at_its_time_and_then_the_line_stays_silent(
    tmp_path: Path, version: int, packed: bool
) -> None:
    settings = _settings(_file(tmp_path, ROWS, packed=packed), replay_speed=2.0, server_version=version)
    async with Simulator(settings) as sim, connected(sim) as peer:
        assert sim.replayed is not None
        assert sim.replayed.key == "700.STK.SEHK.HKD"
        await peer.ask("reqMktData", 1, stock("700", "HKD", "SEHK"), "", False, False, [])
        await peer.settle()
        assert peer.recorder.named("marketDataType") == [(1, 1)]
        assert _rows_seen(peer, 1) == _expected(ROWS[:1])
        await sim.advance(0.25)
        await peer.settle()
        assert _rows_seen(peer, 1) == _expected(ROWS[:3])
        await sim.advance(2.2)
        await peer.settle()
        assert _rows_seen(peer, 1) == _expected(ROWS[:3])
        await sim.advance(0.05)
        await peer.settle()
        assert _rows_seen(peer, 1) == _expected(ROWS)
        await sim.advance(60.0)
        await peer.settle()
        assert _rows_seen(peer, 1) == _expected(ROWS)
        assert sim.line_count() == 1


async def test_every_subscriber_starts_with_the_first_row_and_a_cancel_stops_it(tmp_path: Path) -> None:
    async with Simulator(_settings(_file(tmp_path, ROWS))) as sim, connected(sim) as peer:
        await peer.ask("reqMktData", 1, stock("700", "HKD", "SEHK"), "", False, False, [])
        await peer.settle()
        await sim.advance(1.0)
        await peer.ask("cancelMktData", 1)
        await peer.ask("reqMktData", 2, stock("700", "HKD", "SEHK"), "", False, False, [])
        await peer.settle()
        await sim.advance(10.0)
        await peer.settle()
        assert _rows_seen(peer, 1) == _expected(ROWS[:3])
        assert _rows_seen(peer, 2) == _expected(ROWS)


async def test_any_instrument_can_be_the_recording_and_others_go_on(tmp_path: Path) -> None:
    settings = _settings(_file(tmp_path, ROWS), replay_instrument="NEWCO.STK.SMART.USD", replay_speed=0.0)
    async with Simulator(settings) as sim, connected(sim) as peer:
        await peer.ask("reqContractDetails", 9, stock("NEWCO"))
        await peer.ask("reqMktData", 1, stock("NEWCO"), "", False, False, [])
        await peer.ask("reqMktData", 2, stock("700", "HKD", "SEHK"), "", False, False, [])
        await peer.settle()
        assert peer.recorder.named("contractDetails")[0][1].contract.symbol == "NEWCO"
        assert _rows_seen(peer, 1) == _expected(ROWS)
        assert len(_rows_seen(peer, 2)) > len(ROWS)


async def test_the_recorded_hong_kong_ticks_arrive_complete_and_in_order() -> None:
    if not RECORDING.exists():
        pytest.skip("recordings are not here")
    rows = [json.loads(line) for line in gzip.decompress(RECORDING.read_bytes()).splitlines()]
    settings = SimulatorSettings(replay_file=str(RECORDING), replay_speed=5000.0, clock_speed=1.0)
    async with Simulator(settings) as sim, connected(sim) as peer:
        await peer.ask("reqMktData", 1, stock("700", "HKD", "SEHK"), "", False, False, [])
        await peer.read_until(lambda _: len(peer.payloads) >= len(rows) + 12)
        await peer.settle()
        assert len(rows) == 7000
        assert _rows_seen(peer, 1) == _expected(rows)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "no rows"),
        ('{"time": "yesterday", "tick_type": 1, "price": 1.0, "size": 1.0}\n', "line 1"),
        ('{"time": "2022-01-07T05:58:09+00:00", "tick_type": 1}\n', "line 1"),
        ("not json\n", "line 1"),
    ],
)
def test_a_recording_that_cannot_be_used_is_refused_with_its_line(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(ReplayError, match=complaint):
        load_recording(str(path))


def test_a_recording_that_is_missing_or_goes_back_in_time_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match=r"nowhere\.jsonl"):
        load_recording(str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(ReplayError, match="line 2: earlier"):
        load_recording(_file(tmp_path, [ROWS[1], ROWS[0]]))


def test_a_cursor_gives_each_row_once(tmp_path: Path) -> None:
    cursor = Cursor(load_recording(_file(tmp_path, ROWS)), start_s=100.0, speed=1.0)
    assert (len(cursor.take_due(100.0)), cursor.next_s()) == (1, 100.5)
    assert (len(cursor.take_due(100.5)), cursor.next_s()) == (2, 105.0)
    assert (len(cursor.take_due(200.0)), cursor.next_s(), cursor.take_due(300.0)) == (1, None, [])


def test_a_replay_instrument_must_be_a_full_key(tmp_path: Path) -> None:
    async def start() -> None:
        async with Simulator(_settings(_file(tmp_path, ROWS), replay_instrument="AAPL.STK")):
            pass

    with pytest.raises(ValueError, match="not SYMBOL"):
        anyio.run(start)
