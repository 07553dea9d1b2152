"""Every refusal has its status and its code, and says what to do about it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, get_args

import anyio
import httpx
import msgspec
import pytest

from ibkr_actor.client import connect
from ibkr_actor.http.errors import STATUS, HttpError, answer, of_rejection
from ibkr_actor.schema.codec import decode_command, encode_reply
from ibkr_actor.schema.commands import Code, Rejection, Reply
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import DEADLINE_S, KEYS, running_house, running_redis
from tests.http.kit import JSON, error_of, serving, streaming

pytestmark = pytest.mark.anyio

QUOTES = "/api/v1/stream/quotes"


@pytest.fixture(scope="module")
async def redis_url() -> AsyncIterator[str]:
    """A Redis without a sidecar."""
    async with running_redis() as server:
        yield server.own_url


@pytest.fixture
async def lone(redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(redis_url, answer_s=1.0) as client:
        yield client


@pytest.mark.parametrize("code", get_args(Code))
def test_every_rejection_has_a_status(code: Code) -> None:
    refused = of_rejection(Rejection(code, "no"))
    assert refused.status == STATUS[code]
    assert refused.body["error"]["code"] == code
    assert 400 <= answer(refused).status_code < 600


def test_a_rejection_keeps_ibs_code_and_the_candidates() -> None:
    contract = Contract(con_id=1, symbol="ES", sec_type="FUT", exchange="CME", currency="USD")
    refused = of_rejection(Rejection("ambiguous_instrument", "several", ib_code=200, candidates=[contract]))
    assert refused.status == 409
    assert refused.body["error"]["ib_code"] == 200
    assert refused.body["error"]["candidates"][0]["con_id"] == 1


def test_who_should_wait_is_told_how_long() -> None:
    said = of_rejection(Rejection("pacing_violation", "wait", retryable=True, retry_after_s=7.2))
    assert (said.status, answer(said).headers["retry-after"]) == (429, "8")
    unsaid = of_rejection(Rejection("line_limit", "full", retryable=True))
    assert unsaid.status == 429
    assert int(answer(unsaid).headers["retry-after"]) >= 1
    assert "retry-after" not in answer(HttpError("invalid_instrument", "none such")).headers


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "truncated"),
        (b"[]", "object"),
        (b"{}", "symbols"),
        (b'{"symbols":[]}', "length"),
        (b'{"symbols":"AAPL"}', "array"),
        (b'{"symbols":["AAPL"],"hz":-1}', "hz"),
        (b'{"symbols":[""]}', "symbols"),
        (b"\xff\xfe", ""),
        (b"[" * 30_000, ""),
    ],
)
async def test_a_body_that_is_not_as_it_must_be_is_400(lone: httpx.AsyncClient, body: bytes, words: str) -> None:
    refused = await lone.post(QUOTES, content=body, headers=JSON)
    assert (refused.status_code, error_of(refused)["code"]) == (400, "validation_error")
    assert words in error_of(refused)["message"]


@pytest.mark.parametrize("query", ["", "symbols=", "symbols=AAPL&hz=x", "symbols=AAPL&hz=101", "symbols=A&hz=1&hz=2"])
async def test_a_query_that_is_not_as_it_must_be_is_400(lone: httpx.AsyncClient, query: str) -> None:
    refused = await lone.get(f"{QUOTES}?{query}")
    assert (refused.status_code, error_of(refused)["code"]) == (400, "validation_error")


@pytest.mark.parametrize(
    ("query", "field", "meant"),
    [("symbols=AAPL&hertz=1", "hertz", "hz"), ("symbols=AAPL&exchnage=ISLAND", "exchnage", "did you mean 'exchange'?")],
)
async def test_a_name_in_a_query_that_means_nothing_is_422(
    lone: httpx.AsyncClient, query: str, field: str, meant: str
) -> None:
    error = error_of(refused := await lone.get(f"{QUOTES}?{query}"))
    assert (refused.status_code, error["code"], error["field"]) == (422, "unknown_field", field)
    assert meant in error["message"]
    # What every stream takes, and what keeps caches away; without a sidecar it is 503.
    for known in ("last_event_id=1-0", "lastEventId=1-0", "_=1700000000"):
        assert (await lone.get(f"{QUOTES}?symbols=AAPL&{known}")).status_code == 503


async def test_a_misspelt_field_of_a_body_is_422_and_one_that_means_nothing_is_named_in_the_answer(
    lone: httpx.AsyncClient,
) -> None:
    bars = {"symbol": "AAPL", "start": "2026-01-05", "end": "2026-01-06"}
    error = error_of(refused := await lone.post("/api/v1/historical/bars", json=bars | {"useRTH": False}))
    assert (refused.status_code, error["code"], error["field"]) == (422, "unknown_field", "useRTH")
    assert "'use_rth'" in error["message"]
    tick = {"symbol": "A", "price": 1.0, "timestamp": "2026-01-01T00:00:00Z"}
    taken = await lone.post("/v1/ingest/ibkr/tick", json=tick | {"source": "x", "naïve\r\n": 1})
    assert taken.status_code == 200
    assert json.loads(taken.headers["ignored-fields"]) == ["source", "naïve\r\n"]
    assert "ignored-fields" not in (await lone.post("/v1/ingest/ibkr/tick", json=tick)).headers


async def test_a_plain_request_to_the_websocket_is_426(lone: httpx.AsyncClient) -> None:
    refused = await lone.get("/api/v1/ws")
    assert (refused.status_code, error_of(refused)["code"]) == (426, "upgrade_required")
    assert refused.headers["upgrade"] == "websocket"
    assert (await lone.post("/api/v1/ws")).status_code == 405


@pytest.mark.parametrize("last_event_id", ["x", "1-0,2-0", "1-0-0"])
async def test_a_resume_from_what_is_not_ours_is_400(lone: httpx.AsyncClient, last_event_id: str) -> None:
    refused = await lone.get(f"{QUOTES}?symbols=AAPL", headers={"last-event-id": last_event_id})
    assert (refused.status_code, error_of(refused)["code"]) == (400, "validation_error")


async def test_what_is_no_json_is_415_and_what_is_too_long_413(lone: httpx.AsyncClient) -> None:
    refused = await lone.post(QUOTES, content=b'{"symbols":["AAPL"]}', headers={"content-type": "text/plain"})
    assert (refused.status_code, error_of(refused)["code"]) == (415, "unsupported_media_type")
    refused = await lone.post(QUOTES, content=b" " * 100_000, headers=JSON)
    assert (refused.status_code, error_of(refused)["code"]) == (413, "too_large")


async def test_unknown_paths_are_404_and_unknown_methods_405(lone: httpx.AsyncClient) -> None:
    assert error_of(await lone.get("/nothing"))["code"] == "not_found"
    assert (await lone.head("/api/v1/stream/system")).status_code == 405  # it would never be over
    refused = await lone.delete("/health")
    assert (refused.status_code, error_of(refused)["code"]) == (405, "method_not_allowed")
    assert "GET" in refused.headers["allow"]


@pytest.mark.parametrize("resolution", ["7s", "1y", "../x"])
async def test_bars_that_no_stream_has_are_422(lone: httpx.AsyncClient, resolution: str) -> None:
    refused = await lone.post("/api/v1/stream/bars", json={"symbols": ["AAPL"], "resolution": resolution})
    assert (refused.status_code, error_of(refused)["code"]) == (422, "unsupported")
    assert len(refused.text) < 500  # The families of kinds, not each of hundreds.


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v1/status", None),
        ("GET", "/api/v1/subscriptions", None),
        ("GET", f"{QUOTES}?symbols=AAPL", None),
        ("POST", QUOTES, {"symbols": ["AAPL"]}),
        ("GET", "/api/v1/contracts/search?q=A", None),
        ("POST", "/api/v1/historical/bars", {"symbol": "A", "start": "2026-01-05", "end": "2026-01-06"}),
    ],
)
async def test_without_a_sidecar_it_is_503_and_without_its_answer_504(
    lone: httpx.AsyncClient, redis_url: str, method: str, path: str, body: Any
) -> None:
    refused = await lone.request(method, path, json=body)
    assert (refused.status_code, error_of(refused)["code"]) == (503, "no_sidecar")
    assert int(refused.headers["retry-after"]) >= 1
    async with connect(redis_url) as redis:
        await redis.set(KEYS.heartbeat, '{"state":"ready"}')
        try:
            silent = await lone.request(method, path, json=body)
        finally:
            await redis.delete(KEYS.heartbeat)
    assert (silent.status_code, error_of(silent)["code"]) == (504, "timeout")


async def test_without_redis_it_is_503(lone: httpx.AsyncClient) -> None:
    async with serving("redis://127.0.0.1:1/0") as http:
        for path in ("/api/v1/status", "/api/v1/stream/system", f"{QUOTES}?symbols=AAPL"):
            refused = await http.get(path)
            assert (refused.status_code, error_of(refused)["code"]) == (503, "redis_unavailable"), path
        tick = {"symbol": "A", "price": 1.0, "timestamp": "2026-01-01T00:00:00Z"}
        assert (await http.post("/v1/ingest/ibkr/tick", json=tick)).status_code == 503


@asynccontextmanager
async def refusing(redis_url: str, rejection: Rejection, *before: dict[Any, Any]) -> AsyncIterator[None]:
    """A sidecar that refuses every command with this, after entries that somebody else writes among the replies."""
    async with connect(redis_url) as redis, anyio.create_task_group() as tasks:

        async def answer_all() -> None:
            position: Any = "0-0"
            while True:
                found: Any = await redis.xread({KEYS.commands(): position}, block=1_000)
                for entry_id, fields in found[0][1] if found else ():
                    position = entry_id
                    command = decode_command(fields)
                    reply = Reply(id=command.id, op="", status="rejected", error=rejection)
                    for entry in (*before, {"j": encode_reply(reply)}):
                        await redis.xadd(KEYS.replies(command.client), entry)

        await redis.delete(KEYS.commands())
        await redis.set(KEYS.heartbeat, '{"state":"ready"}')
        tasks.start_soon(answer_all)
        yield
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await redis.delete(KEYS.heartbeat, KEYS.commands())


@pytest.mark.parametrize("code", get_args(Code))
async def test_what_the_sidecar_refuses_comes_out_with_its_status(redis_url: str, code: Code) -> None:
    contract = Contract(con_id=1, symbol="ES", sec_type="FUT", exchange="CME", currency="USD")
    rejection = Rejection(code, "because", retryable=True, retry_after_s=3.0, candidates=[contract])
    async with serving(redis_url) as http, refusing(redis_url, rejection):
        asked = [
            http.get(QUOTES, params={"symbols": "AAPL"}),
            http.get("/api/v1/contracts/search", params={"q": "A"}),
            http.post("/api/v1/historical/bars", json={"symbol": "A", "start": "2026-01-05", "end": "2026-01-06"}),
        ]
        for each, message in zip(asked, ("AAPL: because", "because", "A: because"), strict=True):
            refused = await each
            error = error_of(refused)
            assert error["advice"].endswith("try again in 3 s")
            assert (refused.status_code, error["code"], error["message"]) == (STATUS[code], code, message)
            assert refused.headers["retry-after"] == "3"
            assert error["candidates"][0]["con_id"] == 1


async def test_junk_among_the_replies_ends_nothing(redis_url: str) -> None:
    junk: list[dict[Any, Any]] = [{"j": b"{"}, {"d": b"\xff"}, {"j": b'{"id":1}'}, {"x": b""}]
    async with serving(redis_url) as http, refusing(redis_url, Rejection("busy", "because"), *junk):
        for _ in range(2):
            refused = await http.get("/api/v1/contracts/search", params={"q": "A"})
            assert (refused.status_code, error_of(refused)["message"]) == (503, "because")


async def test_what_ib_refuses_has_its_own_status() -> None:
    async with (
        Simulator(SimulatorSettings(ticks_per_s=50.0)) as sim,
        running_redis() as server,
        running_house(server.own_url, sim.port, lines=1) as house,
        serving(house.url) as http,
    ):
        sim.refuse(354, "Requested market data is not subscribed.", instrument="MSFT", times=None)
        unknown = await http.get(QUOTES, params={"symbols": "NOSUCH"})
        assert (unknown.status_code, error_of(unknown)["code"]) == (404, "invalid_instrument")
        assert error_of(unknown)["symbol"] == "NOSUCH"
        forbidden = await http.post(QUOTES, json={"symbols": ["MSFT"]})
        assert (forbidden.status_code, error_of(forbidden)["code"]) == (403, "permissions_missing")
        assert error_of(forbidden)["ib_code"] == 354
        async with streaming(http, QUOTES, symbols="AAPL"):
            full = await http.get(QUOTES, params={"symbols": "SPY"})
            assert (full.status_code, error_of(full)["code"]) == (429, "line_limit")
            assert int(full.headers["retry-after"]) >= 1
        body = {"symbol": "NOSUCH", "start": "2026-01-05", "end": "2026-01-06"}
        assert (await http.post("/api/v1/historical/bars", json=body)).status_code == 404
        body = {"symbol": "AAPL", "start": "yesterday", "end": "2026-01-06"}
        assert (await http.post("/api/v1/historical/bars", json=body)).status_code == 400


async def test_more_clients_than_are_allowed_are_503(redis_url: str) -> None:
    async with serving(redis_url, clients_max=1) as http, streaming(http, "/api/v1/stream/system"):
        refused = await http.get("/api/v1/stream/system")
        assert (refused.status_code, error_of(refused)["code"]) == (503, "too_many_clients")


async def test_a_client_that_reads_nothing_is_given_up_and_holds_up_nobody(redis_url: str) -> None:
    # What the sockets take in between is some megabytes; behind that the queue of ten fills.
    async with serving(redis_url, client_queue=10, stall_s=60.0) as http, connect(redis_url) as redis:
        record = {"tag": "system", "epoch": 1, "seq": 1, "at_ns": "1", "topic": "redis", "event": "x", "subject": "x"}
        payload: dict[Any, Any] = {"j": msgspec.json.encode(record | {"message": "x" * 60_000})}
        url = http.base_url
        stream = await anyio.connect_tcp(str(url.host), int(url.port or 0))
        async with stream, streaming(http, "/api/v1/stream/system", last="0") as quick:
            await stream.send(b"GET /api/v1/stream/system?last=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with anyio.fail_after(DEADLINE_S):
                while b"ibkr_actor_http_slow_clients_total 1.0" not in (await http.get("/metrics")).content:
                    for _ in range(8):
                        await redis.xadd(KEYS.system, payload, maxlen=1_000)
                    event = await anext(quick)
                    assert event.name == "system"
