"""Real recorded ticks, replayed faster than they came, arrive complete, in order and once."""

import gzip
import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from ibkr_actor.schema.codec import decode_record
from ibkr_actor.schema.commands import Subscribe
from ibkr_actor.schema.records import Quote, Reset
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import KEYS, running_house, running_redis

pytestmark = pytest.mark.anyio

RECORDING = Path(__file__).parents[3] / "shared" / "recordings" / "level1_hk_stock_2022-01-07.jsonl.gz"
INSTRUMENT = "700.STK.SEHK.HKD"
FIELD = {0: "bid_size", 3: "ask_size", 5: "last_size", 8: "volume", 1: "bid", 2: "ask", 4: "last"}


@pytest.mark.parametrize("speed", [2000.0, pytest.param(50.0, marks=pytest.mark.slow)])
@pytest.mark.skipif(not RECORDING.exists(), reason="the recordings are not here")
async def test_recorded_ticks_arrive_complete_in_order_and_once_at_a_consumer_group(speed: float) -> None:
    with gzip.open(RECORDING, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    key = KEYS.stream("quote", INSTRUMENT)
    async with (
        running_redis() as server,
        Simulator(SimulatorSettings(replay_file=str(RECORDING), replay_speed=speed)) as sim,
        running_house(server.own_url, sim.port) as house,
    ):
        await house.redis.xgroup_create(key, "check", id="0", mkstream=True)
        reply = await house.call(Subscribe(instrument=INSTRUMENT, kinds=["quote"], client="check"))
        assert reply.status == "accepted"
        quotes: list[Quote] = []
        seqs: list[int] = []
        with anyio.fail_after(120):
            while len(quotes) < len(rows):
                answer: Any = await house.redis.xreadgroup("check", "one", {key: ">"}, count=500, block=1000)
                for _, entries in answer:
                    for _, fields in entries:
                        record = decode_record(fields)
                        assert isinstance(record, (Quote, Reset))
                        seqs.append(record.seq)
                        if isinstance(record, Quote):
                            quotes.append(record)
                    await house.redis.xack(key, "check", *(entry_id for entry_id, _ in entries))
        assert not await house.redis.xreadgroup("check", "one", {key: ">"}, count=1)
    assert seqs == list(range(1, len(rows) + 2))  # the reset, then one entry per recorded row
    for row, quote in zip(rows, quotes, strict=True):
        value = getattr(quote, FIELD[row["tick_type"]])
        expected = row["price"] if row["tick_type"] in (1, 2, 4) else row["size"]
        assert quote.changed == row["tick_type"]
        assert float(value) == expected
