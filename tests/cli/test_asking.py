"""Questions from the shell against a running sidecar: lines, snap, search, commands, status, health."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
import pytest

from ibkr_actor.cli.commands import described, from_fields, operations
from ibkr_actor.cli.lines import ledger, text
from ibkr_actor.cli.main import EXIT_CONFIGURATION, EXIT_NO, main
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.schema.commands import Resolve, Subscribe
from ibkr_actor.schema.instruments import InstrumentQuery
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import DEADLINE_S, KEYS, House, breath, running_house, running_redis

Say = Callable[..., Awaitable[tuple[int, str, str]]]
AAPL = "AAPL.STK.SMART.USD"


@asynccontextmanager
async def asked(capsys: pytest.CaptureFixture[str]) -> AsyncIterator[tuple[House, Simulator, Say]]:
    """A sidecar, and a way to run a command line beside it: exit status, output, errors."""
    async with (
        running_redis() as server,
        Simulator(SimulatorSettings(ticks_per_s=20.0)) as sim,
        running_house(server.own_url, sim.port) as house,
    ):
        with anyio.fail_after(DEADLINE_S):
            while not await house.redis.exists(KEYS.heartbeat):
                await breath()

        async def say(*line: str) -> tuple[int, str, str]:
            capsys.readouterr()
            status = await anyio.to_thread.run_sync(main, [*line, "--redis-url", server.url])
            return status, *capsys.readouterr()

        yield house, sim, say


def objects(out: str) -> list[dict[str, Any]]:
    """One JSON object a line."""
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.anyio
async def test_lines_tells_budgets_limits_the_queue_and_who_holds_what(capsys: pytest.CaptureFixture[str]) -> None:
    async with asked(capsys) as (house, _, say):
        await house.subscribe("AAPL", "quote", "trade", "depth", "bar.5s", client="a", lease_s=60)
        await house.subscribe("AAPL", "quote", client="b")
        status, out, _ = await say("lines", "--json")
        assert status == 0
        rows = objects(out)
        budgets = {row["name"]: (row["taken"], row["of"]) for row in rows if row["row"] == "budget"}
        assert budgets["tick_by_tick"] == (1, 5)
        assert budgets["depth"] == (1, 3)
        assert budgets["real_time_bars"] == (1, None)
        assert {row["name"] for row in rows if row["row"] == "window"} >= {"messages", "small_bars"}
        assert [row["row"] for row in rows].count("queue") == 1
        streams = {row["kind"]: row for row in rows if row["row"] == "stream"}
        assert [each["client"] for each in streams["quote"]["holders"]] == ["a", "b"]
        assert [streams[kind]["line"] for kind in ("quote", "trade", "depth", "bar.5s")] == [
            "level 1", "tick-by-tick", "order book", "real-time bars",
        ]  # fmt: skip
        _, out, _ = await say("lines")
        assert "of them tick-by-tick        1 of 5" in out
        assert any(line.startswith(AAPL) and "a (" in line and line.endswith(", b") for line in out.splitlines())


def test_lines_without_subscriptions_say_so() -> None:
    assert text(list(ledger({}, [])))[-1] == "no subscriptions"


def test_lines_names_the_scope_of_a_cooldown_and_how_long_it_lasts() -> None:
    rest = {"scope": "small_bars", "remains_s": 412.5, "violations": 2}
    told = text(list(ledger({"pacing": {"cooldowns": [rest]}}, [])))
    assert "cooldown of             small bars, 412.5 s more (violation 2 in a row)" in told


@pytest.mark.anyio
async def test_snap_and_search_answer_and_name_what_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    async with asked(capsys) as (_, sim, say):
        status, out, error = await say("snap", "AAPL", "NOSUCH")
        assert status == EXIT_NO
        assert out.startswith(f"{AAPL}  ")
        assert " x " in out
        assert "  close " in out
        assert error.startswith("ibkr-actor: invalid_instrument: NOSUCH: no such contract")
        assert error.count("\n") == 1
        (snapshot,) = objects((await say("snap", "AAPL", "--json"))[1])
        assert snapshot["instrument"] == AAPL
        assert snapshot["bid"] < snapshot["ask"]
        status, out, _ = await say("search", "AAPL")
        assert (status, out.splitlines()[1].split()[:3]) == (0, ["265598", "AAPL", "STK"])
        assert 265598 in [row["con_id"] for row in objects((await say("search", "AAPL", "--json"))[1])]
        status, out, error = await say("search", "zzzzzz")
        assert (status, out) == (EXIT_NO, "")
        assert "'zzzzzz'" in error
        await sim.wait_for(lambda: sim.line_count() == 0)


def test_a_regulatory_snapshot_needs_a_yes_to_its_price(capsys: pytest.CaptureFixture[str]) -> None:
    # Nothing listens there: it is refused before anything is asked.
    assert main(["snap", "AAPL", "--regulatory", "--redis-url", "redis://127.0.0.1:1"]) == EXIT_CONFIGURATION
    assert "0.01 USD" in capsys.readouterr().err
    assert main(["snap", "AAPL", "--regulatory", "--accept-charge", "--redis-url", "redis://127.0.0.1:1"]) == EXIT_NO


@pytest.mark.anyio
async def test_commands_sends_fields_or_json_and_waits_for_the_last_reply(capsys: pytest.CaptureFixture[str]) -> None:
    async with asked(capsys) as (_, _, say):
        fields = ["instrument=AAPL", "kinds=quote,tick", "lease_s=60", "generic_ticks=233"]
        status, out, _ = await say("commands", "subscribe", *fields, "--wait")
        assert status == 0
        assert [(reply["op"], reply["status"]) for reply in objects(out)] == [
            ("subscribe", "accepted"), ("subscribe", "active"),
        ]  # fmt: skip
        status, out, _ = await say("commands", "renew")
        assert [len(reply["streams"]) for reply in objects(out)] == [2]
        status, out, _ = await say("commands", '{"op":"resolve","instrument":"AAPL","client":"me"}')
        (reply,) = objects(out)
        assert (status, reply["result"]["con_id"]) == (0, 265598)
        status, out, _ = await say("commands", "resolve", "instrument=NOSUCH")
        assert (status, objects(out)[0]["error"]["code"]) == (EXIT_NO, "invalid_instrument")
        line = ["history", "instrument=AAPL", "start=2026-01-05", "end=2026-01-06", "bar=1d", "--wait"]
        status, out, _ = await say("commands", *line)
        assert status == 0
        assert objects(out)[-1]["status"] == "done"
        status, out, error = await say("status")
        assert (status, error) == (0, "")
        assert out.startswith("ready          yes\ngateway        ready since ")
        status, out, _ = await say("status", "--json")
        assert objects(out)[0]["session"]["state"] == "ready"
        assert objects((await say("health", "--json"))[1]) == [{"healthy": True, "reason": None}]


@pytest.mark.anyio
async def test_without_a_sidecar_every_question_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = (["status"], ["lines"], ["snap", "AAPL"], ["search", "x"], ["commands", "renew"])
    async with running_redis() as server:
        for line in lines:
            status = await anyio.to_thread.run_sync(main, [*line, "--redis-url", server.url])
            out, error = capsys.readouterr()
            assert (status, out, error.count("\n")) == (EXIT_NO, "", 1), line
            assert "no sidecar publishes for ibkr:{g1}" in error


def test_fields_become_the_command_and_objects_are_json() -> None:
    command = from_fields(
        "subscribe", ["instrument=AAPL", "kinds=quote,bar.5s", "lease_s=2.5", "generic_ticks=100,233"]
    )
    assert command == Subscribe(
        instrument="AAPL", kinds=["quote", "bar.5s"], lease_s=2.5, generic_ticks=[100, 233]
    )  # fmt: skip
    named = from_fields("resolve", ['instrument={"con_id":265598,"exchange":"SMART"}', "refresh=true"])
    assert named == Resolve(instrument=InstrumentQuery(con_id=265598, exchange="SMART"), refresh=True)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (["subscrbe"], "no operation is called 'subscrbe'; did you mean subscribe?"),
        (["subscribe", "instrument=AAPL"], "subscribe: .*kinds"),
        (["subscribe", "bogus=1"], "subscribe has no field 'bogus'; it has instrument, kinds"),
        (["subscribe", "instrument"], "'instrument' is no FIELD=VALUE"),
        (["subscribe", "lease_s=x", "kinds=quote", "instrument=A"], "subscribe: .*lease_s"),
        (["subscribe", "instrument={x", "kinds=quote"], "instrument: no JSON"),
    ],
)
def test_a_field_that_does_not_fit_is_named(line: list[str], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        from_fields(line[0], line[1:])


def test_the_list_of_operations_comes_from_the_structs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["commands"]) == 0
    out = capsys.readouterr().out
    for op, kind in operations().items():
        assert f"\n{op}\n" in f"\n{out}"
        assert [row["name"] for row in described(op)["fields"]] == list(kind.__struct_fields__[3:])
    assert main(["commands", "subscribe", "--describe", "--json"]) == 0
    (told,) = objects(capsys.readouterr().out)
    assert {"name": "kinds", "type": "list of text", "required": True} in told["fields"]
