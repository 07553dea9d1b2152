"""Every route against a running house: simulator, Redis, sidecar and a real HTTP server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import httpx
import market_data_core
import pytest
import schemathesis
from websockets.asyncio.client import connect as connect_websocket

from ibkr_actor import __version__
from ibkr_actor.http.openapi import document
from ibkr_actor.http.routes import ROWS
from ibkr_actor.schema.commands import List, Unsubscribe
from ibkr_actor.schema.records import AnyRecord
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import DEADLINE_S, KEYS, House, breath, running_house, running_redis
from tests.http.kit import error_of, serving, some, streaming

pytestmark = pytest.mark.anyio

AAPL = "AAPL.STK.SMART.USD"
EUR = "EUR.CASH.IDEALPRO.USD"


@pytest.fixture(scope="module")
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(SimulatorSettings(ticks_per_s=50.0)) as it:
        yield it


@pytest.fixture(scope="module")
async def house(sim: Simulator) -> AsyncIterator[House]:
    async with running_redis() as server, running_house(server.own_url, sim.port, redis_memory_max=2**28) as it:
        yield it


@pytest.fixture
async def http(house: House) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(house.url) as client:
        yield client


async def holders(house: House) -> list[str]:
    reply = await house.call(List(client="test"))
    assert isinstance(reply.result, dict)
    return [holder["client"] for row in reply.result["subscriptions"] for holder in row["holders"]]


async def test_health_says_that_all_is_there(http: httpx.AsyncClient) -> None:
    answer = await http.get("/health")
    body = answer.json()
    assert answer.status_code == 200
    assert (body["status"], body["version"], body["connected"]) == ("healthy", __version__, True)


async def test_ready_while_nothing_is_stale(http: httpx.AsyncClient) -> None:
    async with streaming(http, "/api/v1/stream/quotes", symbols="AAPL") as stream:
        await some(stream, 3)
        answer = await http.get("/ready")
        assert (answer.status_code, answer.json()["status"]) == (200, "ready"), answer.text


async def test_quotes_by_post_are_as_the_replaced_system_sent_them(http: httpx.AsyncClient) -> None:
    body = {"symbols": ["AAPL", "MSFT"], "exchange": "SMART", "currency": "USD"}
    async with streaming(http, "/api/v1/stream/quotes", body=body) as stream:
        found = await some(stream, 6, name="")
        while {event.data["symbol"] for event in found} != {"AAPL", "MSFT"}:
            found += await some(stream, 1, name="")
    for event in found:
        quote = market_data_core.Quote.model_validate(event.data)
        assert quote.timestamp.tzinfo is not None
        assert isinstance(event.data["bid"], str | None)
        assert event.data["delayed"] is False


async def test_quotes_by_get_have_their_name_and_are_conflated(http: httpx.AsyncClient) -> None:
    async with streaming(http, "/api/v1/stream/quotes", symbols="AAPL", hz="5") as stream:
        conflated = [event.data["seq"] for event in await some(stream, 5, name="quote")]
    async with streaming(http, "/api/v1/stream/quotes", symbols="AAPL", hz="0") as stream:
        all_of_them = [event.data["seq"] for event in await some(stream, 20, name="quote")]
    # At 50 ticks a second and 5 a second sent, some are left out; without conflation none.
    assert conflated[-1] - conflated[0] > len(conflated) - 1
    assert all_of_them == list(range(all_of_them[0], all_of_them[0] + 20))


async def test_a_currency_pair_by_its_canonical_id(http: httpx.AsyncClient) -> None:
    async with streaming(http, "/api/v1/stream/quotes", symbols=EUR) as stream:
        (event,) = await some(stream, 1, name="quote")
    assert (event.data["symbol"], event.data["instrument"], event.data["volume"]) == ("EUR", EUR, 0)
    market_data_core.Quote.model_validate(event.data)


@pytest.mark.parametrize("method", ["get", "post"])
async def test_bars_are_those_of_market_data_core(http: httpx.AsyncClient, method: str) -> None:
    given: dict[str, Any] = {"body": {"symbols": ["AAPL"]}} if method == "post" else {"symbols": "AAPL"}
    async with streaming(http, "/api/v1/stream/bars", **given) as stream:
        (event,) = await some(stream, 1, name="" if method == "post" else "bar")
    bar = market_data_core.Bar.model_validate(event.data)
    assert (bar.symbol, bar.resolution) == ("AAPL", "5s")
    assert bar.low <= bar.open <= bar.high
    assert bar.ts.timestamp() % 5 == 0


async def test_any_kinds_come_as_their_records(http: httpx.AsyncClient) -> None:
    query = {"symbols": "MSFT", "kinds": "quote,midpoint"}
    async with streaming(http, "/api/v1/stream/records", **query) as stream:
        found = await some(stream, 1, name="midpoint")
    assert set(found[0].data) >= {"tag", "epoch", "seq", "con_id", "received_ns", "price", "instrument", "kind", "id"}


async def test_system_events_begin_with_those_that_are_there(http: httpx.AsyncClient, house: House) -> None:
    async def newest() -> list[str]:
        there: Any = await house.redis.xrevrange(KEYS.system, count=3)
        return [entry_id.decode() for entry_id, _ in reversed(there)]

    before: list[str] = []
    # Others may have something to say meanwhile.
    while before != (after := await newest()):
        before = after
        async with streaming(http, "/api/v1/stream/system", last="3") as stream:
            found = await some(stream, 3)
    assert [event.data["id"] for event in found] == after


async def test_status_holds_the_sidecars_redis_and_this_process(http: httpx.AsyncClient) -> None:
    body = (await http.get("/api/v1/status")).json()
    assert body["status"]["session"]["state"] == "ready"
    assert body["heartbeat"]["state"] == "ready"
    assert body["redis"]["ping_ms"] > 0
    assert body["http"]["client_name"].startswith("http-")


async def test_subscriptions_are_held_while_somebody_listens_and_given_back_after(house: House) -> None:
    async with serving(house.url, linger_s=0.2) as http:
        name = (await http.get("/api/v1/status")).json()["http"]["client_name"]
        async with streaming(http, "/api/v1/stream/quotes", symbols="SPY") as first:
            async with streaming(http, "/api/v1/stream/quotes", symbols="SPY") as second:
                await some(second, 1)
            await some(first, 2)
            rows = (await http.get("/api/v1/subscriptions")).json()["subscriptions"]
            (row,) = [row for row in rows if row["instrument"] == "SPY.STK.SMART.USD"]
            assert [holder["client"] for holder in row["holders"]] == [name]
            assert {"state", "freshness", "received_ns"} <= set(row)
        with anyio.fail_after(DEADLINE_S):
            while name in await holders(house):
                await breath()


async def test_a_lease_that_was_lost_is_taken_again(house: House) -> None:
    async with serving(house.url, lease_s=1.0) as http:
        name = (await http.get("/api/v1/status")).json()["http"]["client_name"]
        async with streaming(http, "/api/v1/stream/quotes", symbols="SPY") as stream:
            await some(stream, 1)
            # Somebody with the same name gives it back; to us it is as if Redis or the sidecar had lost it.
            await house.call(Unsubscribe(client=name))
            await some(stream, 1, name="end")
            await some(stream, 3, name="quote")


async def test_what_a_process_holds_is_given_back_when_it_ends(house: House) -> None:
    async with serving(house.url) as http:
        name = (await http.get("/api/v1/status")).json()["http"]["client_name"]
        async with streaming(http, "/api/v1/stream/quotes", symbols="SPY") as stream:
            await some(stream, 1)
        assert name in await holders(house)
    with anyio.fail_after(DEADLINE_S):
        while name in await holders(house):
            await breath()


async def test_bars_of_the_past(http: httpx.AsyncClient) -> None:
    body = {"symbol": "AAPL", "start": "2026-01-05T00:00:00Z", "end": "2026-01-10T00:00:00Z", "resolution": "1d"}
    answer = await http.post("/api/v1/historical/bars", json=body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    bars = [market_data_core.Bar.model_validate(bar) for bar in found["bars"]]
    assert found["outcome"] == "complete"
    assert [bar.ts for bar in bars] == sorted(bar.ts for bar in bars)
    assert [bar.ts.date().isoformat() for bar in bars] == [f"2026-01-{day:02}" for day in range(5, 10)]
    assert {bar.symbol for bar in bars} == {"AAPL"}
    assert all(isinstance(bar["open"], float | int) for bar in found["bars"])


async def test_what_a_running_sidecar_answers_keeps_to_the_openapi_document(
    http: httpx.AsyncClient, house: House
) -> None:
    await house.subscribe("AAPL", "quote", "tick")
    bars = {"symbol": "AAPL", "start": "2026-01-05", "end": "2026-01-09", "resolution": "1d"}
    tick = {"symbol": "AAPL", "price": 1.5, "timestamp": "2026-01-05T15:00:00Z"}
    answers = {
        ("GET", "/health"): await http.get("/health"),
        ("GET", "/ready"): await http.get("/ready"),
        ("GET", "/metrics"): await http.get("/metrics"),
        ("GET", "/api/v1/status"): await http.get("/api/v1/status"),
        ("GET", "/api/v1/subscriptions"): await http.get("/api/v1/subscriptions"),
        ("GET", "/api/v1/contracts/search"): await http.get("/api/v1/contracts/search", params={"q": "AAPL"}),
        ("POST", "/api/v1/historical/bars"): await http.post("/api/v1/historical/bars", json=bars),
        ("POST", "/v1/ingest/ibkr/tick"): await http.post("/v1/ingest/ibkr/tick", json=tick),
    }
    assert set(answers) == {(row.method, row.path) for row in ROWS if row.media != "text/event-stream"}
    schema = schemathesis.openapi.from_dict(document())
    for (method, path), answer in answers.items():
        assert answer.status_code in (200, 202), (path, answer.text)
        schema[path][method].validate_response(answer)
    assert answers["GET", "/api/v1/subscriptions"].json()["subscriptions"]
    await house.call(Unsubscribe(client="test"))


async def test_contracts_are_found(http: httpx.AsyncClient) -> None:
    found = (await http.get("/api/v1/contracts/search", params={"q": "AAPL"})).json()["contracts"]
    assert 265598 in [row["con_id"] for row in found]


async def test_a_websocket_subscribes_and_unsubscribes(http: httpx.AsyncClient) -> None:
    address = str(http.base_url).replace("http", "ws") + "/api/v1/ws?hz=0"
    with anyio.fail_after(DEADLINE_S):
        async with connect_websocket(address) as socket:
            await socket.send(json.dumps({"op": "subscribe", "id": 1, "symbols": ["AAPL", EUR], "kinds": ["quote"]}))
            seen: set[str] = set()
            told: dict[str, Any] = {}
            while len(seen) < 2 or not told:
                message = json.loads(await socket.recv())
                if message["event"] == "subscribed":
                    told = message
                elif message["event"] == "quote":
                    seen.add(message["data"]["instrument"])
            assert told["id"] == 1
            assert [row["instrument"] for row in told["streams"]] == [AAPL, EUR]
            await socket.send(json.dumps({"op": "unsubscribe", "id": 2, "symbols": ["AAPL"]}))
            while (message := json.loads(await socket.recv()))["event"] != "unsubscribed":
                pass
            assert message["streams"] == [{"symbol": "AAPL", "kind": "quote"}]
            after = [json.loads(await socket.recv()) for _ in range(20)]
            assert {message["data"]["instrument"] for message in after} == {EUR}
            await socket.send(json.dumps({"op": "ping", "id": "x"}))
            while (message := json.loads(await socket.recv()))["event"] != "pong":
                pass
            assert message["id"] == "x"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("{", "validation_error"),
        ('{"op":"dance"}', "validation_error"),
        ('{"op":"subscribe"}', "validation_error"),
        ('{"op":"subscribe","symbols":["AAPL"],"kinds":["nothing"]}', "unsupported"),
        ('{"op":"subscribe","symbols":["NOSUCH"]}', "invalid_instrument"),
        ('{"op":"subscribe","symbols":["AAPL"],"after":["1-0","2-0"]}', "validation_error"),
        ('{"op":"subscribe","symbols":["AAPL"],"after":["x"]}', "validation_error"),
    ],
)
async def test_what_is_wrong_with_a_message_is_told_and_ends_nothing(
    http: httpx.AsyncClient, said: str, code: str
) -> None:
    with anyio.fail_after(DEADLINE_S):
        async with connect_websocket(str(http.base_url).replace("http", "ws") + "/api/v1/ws") as socket:
            await socket.send(said)
            assert json.loads(await socket.recv())["error"]["code"] == code
            await socket.send('{"op":"ping"}')
            assert json.loads(await socket.recv()) == {"event": "pong"}


async def test_the_page_is_served_with_its_files_and_nothing_else(http: httpx.AsyncClient) -> None:
    page = await http.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    again = await http.get("/", headers={"if-none-match": page.headers["etag"]})
    assert again.status_code == 304
    assert (await http.get("/page.js")).headers["content-type"] == "text/javascript; charset=utf-8"
    for path in ("/__init__.py", "/..%2fapp.py", "/%2e%2e/app.py", "/nothing.html", "/page"):
        assert (await http.get(path)).status_code == 404, path


def beyond(seq: int) -> Callable[[list[AnyRecord]], bool]:
    return lambda records: records[-1].seq >= seq


async def test_a_resume_goes_on_behind_what_was_had_without_loss_or_double(
    http: httpx.AsyncClient, house: House
) -> None:
    query = {"symbols": f"AAPL,{EUR}", "hz": "0"}
    async with streaming(http, "/api/v1/stream/quotes", **query) as stream:
        had = [*await some(stream, 20)]
        while {event.data["instrument"] for event in had} != {AAPL, EUR}:
            had += await some(stream, 1)
    # What comes while nobody listens must not be lost: the lines are held a little longer.
    for instrument in (AAPL, EUR):
        newest = max(event.data["seq"] for event in had if event.data.get("instrument") == instrument)
        await house.until(KEYS.stream("quote", instrument), beyond(newest + 5))
    async with streaming(http, "/api/v1/stream/quotes", last_event_id=had[-1].id, **query) as stream:
        had += await some(stream, 40)
    for instrument in (AAPL, EUR):
        seqs = [event.data["seq"] for event in had if event.data["instrument"] == instrument]
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))


@pytest.mark.parametrize("path", ["quotes?symbols=AAPL&hz=0", "system"])
async def test_a_resume_from_what_was_trimmed_says_so_and_goes_on_with_what_is_there(
    http: httpx.AsyncClient, path: str
) -> None:
    async with streaming(http, f"/api/v1/stream/{path}", last_event_id="1-0") as stream:
        missed, first = await some(stream, 2)
    assert (missed.name, missed.data["after_id"], missed.data["reason"]) == ("missed", "1-0", "trimmed")
    assert first.data["seq"] == 1


async def test_two_streams_of_one_stream_by_two_names_are_refused(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/v1/stream/quotes", params={"symbols": f"AAPL,{AAPL}"})
    assert (answer.status_code, error_of(answer)["code"]) == (400, "validation_error")
