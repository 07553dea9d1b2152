"""A session recorded by the sidecar and played back: to the official client, to ib_async, and to the sidecar itself.

What arrives must be what arrived when it was recorded, value for value.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import ib_async
import msgspec
import pytest

from ibkr_actor.schema.records import AnyRecord, Bar, BidAsk, Quote, Tick, Trade
from ibkr_actor.sim import Simulator, SimulatorSettings
from ibkr_actor.sim.replay.frame_recording import find_recordings, read_lines
from ibkr_actor.tws.recording_format import FrameIn, FrameOut, Header
from tests.e2e.kit import DEADLINE_S, House, running_house, running_redis
from tests.sim.peers import forex, official_client, stock

pytestmark = pytest.mark.anyio

EUR = "EUR.CASH.IDEALPRO.USD"
# The streams asked for, and how many records of which type are recorded of each at least.
WANTED: dict[tuple[str, str], tuple[type[AnyRecord], int]] = {
    ("AAPL", "quote"): (Quote, 20),
    ("AAPL", "tick"): (Tick, 20),
    ("AAPL", "trade"): (Trade, 5),
    (EUR, "bidask"): (BidAsk, 10),
    ("AAPL", "bar.5s"): (Bar, 2),
}


async def streamed(house: House) -> dict[tuple[str, str], list[AnyRecord]]:
    """Subscribes to all that is wanted; the records of each stream, once there are enough."""
    keys: dict[tuple[str, str], str] = {}
    for instrument in dict.fromkeys(instrument for instrument, _ in WANTED):
        # In one command: what was recorded as one request is asked for as one.
        kinds = [kind for of, kind in WANTED if of == instrument]
        keys |= zip([(instrument, kind) for kind in kinds], await house.subscribe(instrument, *kinds), strict=True)
    return {wanted: await house.until(keys[wanted], enough(*WANTED[wanted])) for wanted in WANTED}


def enough(kind: type[AnyRecord], count: int) -> Callable[[list[AnyRecord]], bool]:
    return lambda records: sum(type(record) is kind for record in records) >= count


def values(records: list[AnyRecord], kind: type[AnyRecord], count: int) -> list[dict[str, Any]]:
    """The first records of a kind without what belongs to the run: its epoch and its clock."""
    chosen = [record for record in records if type(record) is kind][:count]
    return [msgspec.structs.asdict(each) | {"epoch": 0, "received_ns": 0} for each in chosen]


@pytest.fixture(params=[178, *(pytest.param(version, marks=pytest.mark.slow) for version in (200, 206, 213)), 226])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
async def recorded(version: int, tmp_path: Path) -> dict[tuple[str, str], list[AnyRecord]]:
    """What the sidecar published while it recorded into `tmp_path`."""
    settings = SimulatorSettings(server_version=version, ticks_per_s=20.0, clock_speed=5.0, accounts=("DU7654321",))
    async with (
        running_redis() as server,
        Simulator(settings) as sim,
        running_house(server.own_url, sim.port, record_dir=str(tmp_path), gateway_name="g1") as house,
    ):
        records = await streamed(house)
    return records


async def test_a_recorded_session_plays_back_equal_to_everyone(
    recorded: dict[tuple[str, str], list[AnyRecord]], version: int, tmp_path: Path
) -> None:
    (source,) = find_recordings(str(tmp_path))
    lines = list(read_lines(source.parts[0]))
    assert isinstance(lines[0], Header)
    assert lines[0].server_version == version
    text = "".join(line.payload for line in lines if isinstance(line, FrameIn | FrameOut))
    assert "DU0000001" in text
    assert "7654321" not in text
    settings = SimulatorSettings(play=str(tmp_path), play_speed=0.0, enforce_message_rate=False)
    await play_to_the_sidecar(settings, recorded)
    await play_to_the_official_client(settings, version, recorded)
    if version <= 178:
        await play_to_ib_async(settings, recorded)


async def play_to_the_sidecar(settings: SimulatorSettings, recorded: dict[tuple[str, str], list[AnyRecord]]) -> None:
    async with (
        running_redis() as server,
        Simulator(settings) as sim,
        running_house(server.own_url, sim.port) as house,
    ):
        again = await streamed(house)
        assert sim.errors_sent[320] == 0
    for wanted, (kind, count) in WANTED.items():
        assert values(again[wanted], kind, count) == values(recorded[wanted], kind, count), wanted


async def play_to_the_official_client(
    settings: SimulatorSettings, version: int, recorded: dict[tuple[str, str], list[AnyRecord]]
) -> None:
    def converse(port: int) -> list[tuple[Any, ...]]:
        with official_client(port) as client:
            assert client.serverVersion() == version
            client.reqTickByTickData(901, forex("EUR", "USD"), "BidAsk", 0, False)
            client.wait_for(lambda: len(client.named("tickByTickBidAsk")) >= 10)
            client.reqContractDetails(902, stock("AAPL"))
            client.wait_for_call("contractDetailsEnd")
            assert client.named("contractDetails")[0][1].contract.conId == 265598
            assert {call[0] for call in client.named("tickByTickBidAsk")} == {901}
            return client.named("tickByTickBidAsk")[:10]

    async with Simulator(settings) as sim:
        seen = await anyio.to_thread.run_sync(converse, sim.port)
    sent = [record for record in recorded[EUR, "bidask"] if isinstance(record, BidAsk)][:10]
    assert [(call[2], call[3]) for call in seen] == [(float(each.bid or 0), float(each.ask or 0)) for each in sent]


async def play_to_ib_async(settings: SimulatorSettings, recorded: dict[tuple[str, str], list[AnyRecord]]) -> None:
    euro = ib_async.Forex("EURUSD")
    async with Simulator(settings) as sim:
        ib = ib_async.IB()
        await ib.connectAsync("127.0.0.1", sim.port, clientId=7, timeout=DEADLINE_S)
        try:
            await ib.qualifyContractsAsync(euro)
            ticker = ib.reqTickByTickData(euro, "BidAsk")
            seen: list[tuple[float, float]] = []

            def note(updated: ib_async.Ticker) -> None:
                ticks = [tick for tick in updated.tickByTicks if isinstance(tick, ib_async.TickByTickBidAsk)]
                seen.extend((tick.bidPrice, tick.askPrice) for tick in ticks)

            ticker.updateEvent += note
            with anyio.fail_after(DEADLINE_S):
                while len(seen) < 10:
                    await ib.pendingTickersEvent
        finally:
            ib.disconnect()
            await sim.wait_for(lambda: sim.clients() == [])
    sent = [record for record in recorded[EUR, "bidask"] if isinstance(record, BidAsk)][:10]
    assert seen[:10] == [(float(each.bid or 0), float(each.ask or 0)) for each in sent]
