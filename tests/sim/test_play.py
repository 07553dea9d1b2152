"""Owns the tests of playing raw recordings back: which recorded request answers, when, and what is refused.

Must not need a recorder; the recordings are written here, line by line.
"""

from __future__ import annotations

import gzip
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from ibkr_actor.sim import ReplayError, Simulator, SimulatorSettings
from ibkr_actor.sim import messages as m
from ibkr_actor.sim.replay.frame_recording import find_recordings, load_frames
from ibkr_actor.sim.wire.responses import Encoder
from ibkr_actor.tws.recording_format import AnyLine, Dropped, End, FrameIn, FrameOut, Garbage, Header, text_of
from tests.sim.peers import DEADLINE_S, FIXED_START_S, Peer, Requests, connected, greet, stock

pytestmark = pytest.mark.anyio

SECOND = 1_000_000_000
VERSIONS = [178, 205, 206, 213, 226]


class Script:
    """Writes a recording as the sidecar would: what it asks with the official methods, what the gateway says."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.client = Requests(version)
        self.client.clientId = 17
        self.encoder = Encoder(version)
        header = Header(
            ns=0, gateway="g1", conn=1, part=1, server_version=version, connection_time="20260102 10:00:00 UTC",
            client_versions="v100..226",
        )  # fmt: skip
        self.lines: list[AnyLine] = [header, FrameOut(ns=0, payload="v100..226")]
        self.lines.append(FrameIn(ns=0, payload=f"{version}\0" + "20260102 10:00:00 UTC\0"))
        self.ask(0, "startApi")
        self.say(0, m.NextValidId(order_id=44), m.ManagedAccounts(accounts=("DU0000001",)), notice("secdefnj"))

    def ask(self, at_s: float, name: str, *arguments: Any) -> None:
        getattr(self.client, name)(*arguments)
        sent, self.client.sent = self.client.sent, []
        self.lines += [FrameOut(ns=int(at_s * SECOND), payload=text_of(each[4:])) for each in sent]

    def say(self, at_s: float, *messages: m.Message) -> None:
        for message in messages:
            self.lines.append(FrameIn(ns=int(at_s * SECOND), payload=text_of(self.encoder.encode(message)[4:])))

    def add(self, line: AnyLine) -> None:
        self.lines.append(line)

    def write(self, folder: Path, name: str = "g1-20260102T100000000Z-conn00001-0001.frames.jsonl.gz") -> str:
        text = b"\n".join(map(msgspec.json.encode, self.lines)) + b"\n"
        (folder / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
        return str(folder)


def notice(farm: str) -> m.ErrorMessage:
    return m.ErrorMessage(req_id=-1, code=2158, text=f"Sec-def data farm connection is OK:{farm}", time_ms=1)


def bid(req_id: int, price: float) -> m.TickPrice:
    return m.TickPrice(req_id=req_id, tick_type=1, price=price, size=100, attrib_mask=0)


def playing(path: str, **settings: Any) -> SimulatorSettings:
    given: dict[str, Any] = {"clock_speed": 0.0, "start_time_s": FIXED_START_S} | settings
    return SimulatorSettings(play=path, **given)


def streaming(version: int) -> Script:
    """AAPL asked for one second after startApi, ticks at 1.5 and 3 s; cancelled at 4 s; asked for again at 10 s."""
    script = Script(version)
    script.ask(1, "reqMktData", 11, stock("AAPL"), "233", False, False, [])
    script.say(1.5, bid(11, 1.5))
    script.say(3, bid(11, 3.0))
    script.ask(4, "cancelMktData", 11)
    script.ask(10, "reqMktData", 12, stock("AAPL"), "233", False, False, [])
    script.say(10.5, bid(12, 10.5))
    return script


def prices(peer: Peer, req_id: int) -> list[float]:
    return [call[2] for call in peer.recorder.named("tickPrice") if call[0] == req_id]


async def until(peer: Peer, found: Callable[[], object]) -> None:
    await peer.read_until(lambda _: found())


async def ask_for_apple(peer: Peer, req_id: int, generic_ticks: str = "233") -> None:
    await peer.ask("reqMktData", req_id, stock("AAPL"), generic_ticks, False, False, [])
    await peer.settle()


@pytest.mark.parametrize("version", VERSIONS)
async def test_answers_come_under_the_clients_own_req_id_at_their_recorded_distance(
    tmp_path: Path, version: int
) -> None:
    settings = playing(streaming(version).write(tmp_path), play_speed=2.0)
    async with Simulator(settings) as sim, connected(sim) as peer:
        assert peer.server_version == version
        assert peer.recorder.named("nextValidId") == [(44,)]
        assert peer.recorder.named("managedAccounts") == [("DU0000001",)]
        await ask_for_apple(peer, 900)
        assert prices(peer, 900) == []
        await sim.advance(0.25)
        await until(peer, lambda: prices(peer, 900) == [1.5])
        await sim.advance(0.74)
        await peer.settle()
        assert prices(peer, 900) == [1.5]
        await sim.advance(0.01)
        await until(peer, lambda: prices(peer, 900) == [1.5, 3.0])


async def test_at_speed_0_each_answer_comes_at_once_and_the_second_request_gets_the_second_answer(
    tmp_path: Path,
) -> None:
    settings = playing(streaming(226).write(tmp_path), play_speed=0.0)
    async with Simulator(settings) as sim, connected(sim) as peer:
        await ask_for_apple(peer, 1)
        await until(peer, lambda: prices(peer, 1) == [1.5, 3.0])
        await ask_for_apple(peer, 2)
        await until(peer, lambda: prices(peer, 2) == [10.5])
        await ask_for_apple(peer, 3)
        await until(peer, lambda: prices(peer, 3) == [10.5])
    async with Simulator(settings) as sim, connected(sim) as peer:  # a new connection begins anew
        await ask_for_apple(peer, 1)
        await until(peer, lambda: prices(peer, 1) == [1.5, 3.0])


async def test_a_request_made_more_often_than_recorded_is_refused_when_reuse_is_off(tmp_path: Path) -> None:
    settings = playing(streaming(226).write(tmp_path), play_speed=0.0, play_reuse=False)
    async with Simulator(settings) as sim, connected(sim) as peer:
        for req_id in (1, 2, 3):
            await ask_for_apple(peer, req_id)
        assert peer.errors() == [(3, 320)]
        assert "recorded 2 times" in peer.recorder.named("error")[-1][3]


async def test_a_request_that_was_not_recorded_is_refused_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with Simulator(playing(streaming(206).write(tmp_path))) as sim, connected(sim) as peer:
        await peer.ask("reqMktData", 5, stock("MSFT"), "233", False, False, [])
        await peer.ask("reqTickByTickData", 6, stock("AAPL"), "Last", 0, False)
        await ask_for_apple(peer, 7, generic_ticks="236")
        assert peer.errors() == [(5, 320), (6, 320), (7, 320)]
        text = peer.recorder.named("error")[-1][3]
        assert "g1-20260102T100000000Z-conn00001: no such request was recorded, 2 others of its kind" in text
        assert sim.errors_sent[320] == 3
    assert any("play_refused" in record.message and "MSFT" in record.message for record in caplog.records)


async def test_a_cancel_ends_the_answers_and_gets_what_the_recorded_cancel_got(tmp_path: Path) -> None:
    script = Script(226)
    script.ask(1, "reqMktData", 11, stock("AAPL"), "", False, False, [])
    script.say(2, bid(11, 2.0))
    script.say(9, bid(11, 9.0))
    script.ask(10, "cancelMktData", 11)
    script.say(10.1, m.ErrorMessage(req_id=11, code=300, text="Can't find EId", time_ms=1))
    async with Simulator(playing(script.write(tmp_path))) as sim, connected(sim) as peer:
        await ask_for_apple(peer, 70, generic_ticks="")
        await sim.advance(1.0)
        await until(peer, lambda: prices(peer, 70) == [2.0])
        await peer.ask("cancelMktData", 70)
        await peer.ask("cancelMktData", 71)
        await peer.settle()
        await sim.advance(20.0)
        await until(peer, lambda: peer.errors() == [(70, 300)])
        assert prices(peer, 70) == [2.0]


async def test_notices_come_by_the_time_since_the_start_of_the_session(tmp_path: Path) -> None:
    script = Script(200)
    script.say(30, m.ErrorMessage(req_id=-1, code=1100, text="lost", time_ms=1))
    async with Simulator(playing(script.write(tmp_path), play_speed=10.0)) as sim, connected(sim) as peer:
        await sim.advance(2.99)
        await peer.settle()
        assert 1100 not in [call[2] for call in peer.recorder.named("error")]
        await sim.advance(0.01)
        await until(peer, lambda: 1100 in [call[2] for call in peer.recorder.named("error")])


async def test_another_client_may_name_the_contract_in_another_way(tmp_path: Path) -> None:
    script = Script(178)
    known = stock("AAPL")
    known.conId, known.primaryExchange, known.localSymbol, known.tradingClass = 265598, "NASDAQ", "AAPL", "NMS"
    script.ask(1, "reqMktData", 3, known, "233,236", False, False, [])
    script.say(1, bid(3, 7.0))
    async with Simulator(playing(script.write(tmp_path), play_speed=0.0)) as sim, connected(sim) as peer:
        await ask_for_apple(peer, 1, generic_ticks="236,233")
        await until(peer, lambda: prices(peer, 1) == [7.0])
        other = stock("AAPL")
        other.conId = 1
        await peer.ask("reqMktData", 2, other, "233,236", False, False, [])
        await peer.settle()
        assert peer.errors() == [(2, 320)]


@pytest.mark.parametrize("version", [178, 226])
async def test_answers_without_a_req_id_go_to_the_request_of_their_kind(tmp_path: Path, version: int) -> None:
    script = Script(version)
    script.ask(5, "reqCurrentTime")
    script.say(5, m.CurrentTime(time=1234))
    script.ask(6, "reqMarketRule", 26)
    script.say(6, m.CurrentTime(time=5678))  # nobody asked: it comes by time
    async with Simulator(playing(script.write(tmp_path), play_speed=0.0)) as sim, connected(sim) as peer:
        await peer.ask("reqCurrentTime")
        await peer.ask("reqCurrentTime")
        await until(peer, lambda: len(peer.recorder.named("currentTime")) == 3)
        assert sorted(peer.recorder.named("currentTime")) == [(1234,), (1234,), (5678,)]
        await peer.ask("reqMarketRule", 26)
        await peer.ask("reqMarketRule", 27)
        await peer.settle()
        assert peer.errors() == [(-1, 320)]


async def test_what_an_account_answers_and_orders_get_needs_no_recording(tmp_path: Path) -> None:
    async with Simulator(playing(Script(178).write(tmp_path))) as sim, connected(sim) as peer:
        await peer.ask("reqPositions")
        await peer.ask("reqMarketDataType", 3)
        await peer.ask("cancelOrder", 5, _order_cancel())
        await peer.settle()
        assert peer.recorder.named("positionEnd") == [()]
        assert peer.errors() == [(5, 321)]


def _order_cancel() -> Any:
    from ibapi.order_cancel import OrderCancel

    return OrderCancel()


async def test_a_client_that_does_not_speak_the_recordings_version_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Simulator(playing(Script(206).write(tmp_path))) as sim:
        stream, reply = await greet(sim, b"v100..178")
        assert reply == b""
        await stream.aclose()
        stream, reply = await greet(sim, b"v100..226")
        assert reply == b"206\x0020260102 10:00:00 UTC\0"
        await stream.aclose()
    assert any("of server version 206, the client speaks up to 178" in record.message for record in caplog.records)


async def test_each_connection_plays_the_next_recording_and_the_last_one_again(tmp_path: Path) -> None:
    for conn, version in ((1, 178), (2, 226)):
        script = Script(version)
        script.write(tmp_path, f"g1-20260102T10000{conn}000Z-conn0000{conn}-0001.frames.jsonl.gz")
    async with Simulator(playing(str(tmp_path))) as sim:
        versions = []
        for _ in range(3):
            async with connected(sim) as peer:
                versions.append(peer.server_version)
    assert versions == [178, 226, 226]
    one = tmp_path / "g1-20260102T100002000Z-conn00002-0001.frames.jsonl.gz"
    async with Simulator(playing(str(one))) as sim, connected(sim) as peer:
        assert peer.server_version == 226


async def test_parts_are_one_recording_and_a_missing_first_part_still_plays(tmp_path: Path) -> None:
    script = streaming(178)
    whole = script.lines
    first, second = whole[:8], [msgspec.structs.replace(whole[0], part=2), *whole[8:]]
    for number, lines in ((1, first), (2, second)):
        script.lines = lines
        script.write(tmp_path, f"g1-20260102T100000000Z-conn00001-000{number}.frames.jsonl.gz")
    async with Simulator(playing(str(tmp_path), play_speed=0.0)) as sim, connected(sim) as peer:
        await ask_for_apple(peer, 1)
        await until(peer, lambda: prices(peer, 1) == [1.5, 3.0])
    (tmp_path / "g1-20260102T100000000Z-conn00001-0001.frames.jsonl.gz").unlink()
    recording = load_frames(find_recordings(str(tmp_path))[0])
    assert (recording.server_version, recording.orphans) == (178, 2)
    async with Simulator(playing(str(tmp_path), play_speed=0.0)) as sim, connected(sim) as peer:
        assert peer.recorder.named("nextValidId") == [(1,)]
        await ask_for_apple(peer, 1)
        await until(peer, lambda: prices(peer, 1) == [10.5])


@pytest.mark.parametrize("compressed", [True, False])
async def test_a_torn_end_is_read_up_to_there(tmp_path: Path, compressed: bool) -> None:
    script = streaming(178)
    name = "g1-20260102T100000000Z-conn00001-0001.frames.jsonl" + (".gz" if compressed else "")
    script.write(tmp_path, name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:-40])
    recording = load_frames(find_recordings(str(tmp_path))[0])
    assert recording.welcomed
    assert recording.exchanges[1]


async def test_what_the_recorder_dropped_is_known(tmp_path: Path) -> None:
    script = Script(178)
    script.add(Dropped(ns=1, direction="in", frames=7, bytes=700))
    assert load_frames(find_recordings(script.write(tmp_path))[0]).lost == 7


async def test_a_connection_ends_as_the_recorded_one_did_when_that_is_wanted(tmp_path: Path) -> None:
    script = Script(178)
    script.add(Garbage(ns=2 * SECOND, payload="\xff\xff\xff\xffrest"))
    script.add(End(ns=3 * SECOND, reason="closed by the peer", by_gateway=True))
    path = script.write(tmp_path)
    async with Simulator(playing(path, play_end=True)) as sim, connected(sim) as peer:
        await sim.advance(2.0)
        while not peer._buffer:
            peer._buffer += await peer.stream.receive()
        assert peer._buffer == b"\xff\xff\xff\xffrest"
        await sim.advance(1.0)
        with anyio.fail_after(DEADLINE_S), pytest.raises(anyio.EndOfStream):
            await peer.stream.receive()
    async with Simulator(playing(path)) as sim, connected(sim) as peer:
        await sim.advance(10.0)
        await peer.settle()


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.txt", b"", "no recording"),
        ("a.frames.jsonl", b"", "no lines"),
        ("a.frames.jsonl", b"rubbish\n", "line 1: "),
        ("a.frames.jsonl", b'{"kind":"in","ns":1,"payload":""}\n', "line 1: no header of ibkr-actor-frames version 1"),
        ("a.frames.jsonl", msgspec.json.encode(Script(178).lines[0]) + b'\n{"kind":"in"}\n', "line 2: "),
    ],
)
async def test_what_is_no_recording_is_refused_with_its_line(
    tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ReplayError, match=complaint):
        Simulator(playing(str(tmp_path)))


async def test_a_directory_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match=r"nowhere/x\.gz: No such file"):
        Simulator(playing(str(tmp_path / "nowhere" / "x.gz")))


async def test_playing_excludes_the_other_sources_of_data() -> None:
    with pytest.raises(ValueError, match="play answers everything itself"):
        SimulatorSettings(play="x", replay_file="y")


async def test_played_frames_are_in_the_journal(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    settings = playing(streaming(178).write(tmp_path), play_speed=0.0, journal_file=str(journal), journal_payload=True)
    async with Simulator(settings) as sim, connected(sim) as peer:
        await ask_for_apple(peer, 1)
        await until(peer, lambda: prices(peer, 1) == [1.5, 3.0])
        payloads = [payload.hex() for payload in peer.payloads]
    out = [line for line in map(msgspec.json.decode, journal.read_bytes().splitlines()) if line["direction"] == "out"]
    assert [line["frame"] for line in out[1:]] == payloads
    assert [line["req_id"] for line in out if line.get("message_id") == 1] == [1, 1]
