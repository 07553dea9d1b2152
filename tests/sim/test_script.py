"""Owns the tests of the script format: what it takes, how it says no, and when each step is done.

Must not test what an action does; it counts them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ibkr_actor.sim import ScriptError, Simulator, SimulatorSettings, load_script, parse_script
from ibkr_actor.sim.market.instruments import ContractSpec
from tests.sim.peers import FIXED_START_S, Peer, connected, stock

pytestmark = pytest.mark.anyio

NOTICE = 'do = "send_notice"\ncode = 2100\ntext = "hello"\n'


def still(**changes: Any) -> SimulatorSettings:
    values: dict[str, Any] = {"clock_speed": 0.0, "start_time_s": FIXED_START_S, "ticks_per_s": 0.0}
    return SimulatorSettings(**(values | changes))


def steps(*heads: str) -> str:
    """One notice for each head; code 2100, 2101, ... tells them apart."""
    return "".join(
        f'[[step]]\n{head}\ndo = "send_notice"\ncode = {2100 + number}\ntext = "x"\n'
        for number, head in enumerate(heads)
    )


async def codes(peer: Peer) -> list[int]:
    await peer.settle()
    return [code for _, code in peer.errors()]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x =", "night.toml: Invalid value (at end of document)"),
        ("", "night.toml: step: needs at least one table [[step]]"),
        ("title = 3\n[[step]]\n" + NOTICE, "night.toml: title: must be text in quotes"),
        ("form = 'start'\n[[step]]\n" + NOTICE, "night.toml: no key 'form'; did you mean 'from'?"),
        ("from = 'now'\n[[step]]\n" + NOTICE, "night.toml: from: must be 'first_client' or 'start', is 'now'"),
        ("[[step]]\ncode = 1", "night.toml: step 1: do: is missing; it names the action"),
        ("[[step]]\ndo = 'zombi'", "night.toml: step 1 (zombi): do: no action 'zombi'; did you mean 'zombie'?"),
        (
            "[[step]]\n" + NOTICE + "[[step]]\ndo = 'zombie'\ninstrumnt = 'AAPL'",
            "night.toml: step 2 (zombie): no key 'instrumnt'; did you mean 'instrument'?",
        ),
        (
            "[[step]]\ndo = 'resume'\nqqq = 1",
            "night.toml: step 1 (resume): no key 'qqq'; there are: at, after, every, times, when",
        ),
        ("[[step]]\ndo = 'send_notice'\ntext = 'x'", "night.toml: step 1 (send_notice): code: is missing"),
        (
            "[[step]]\ndo = 'send_notice'\ncode = 'x'\ntext = 'x'",
            "night.toml: step 1 (send_notice): code: must be a whole number, is text in quotes",
        ),
        (
            "[[step]]\ndo = 'zombie'\ncure = 'prayer'",
            "night.toml: step 1 (zombie): cure: must be one of resubscribe, reconnect, none, is 'prayer'",
        ),
        (
            "[[step]]\ndo = 'stall'\nfor = '3 days'",
            'night.toml: step 1 (stall): for: must be a duration such as "30s", "250ms", "5m" or "1h", is \'3 days\'',
        ),
        ("[[step]]\ndo = 'slow_socket'\nbytes_per_s = 0", "step 1 (slow_socket): bytes_per_s must be above 0"),
        ("[[step]]\ndo = 'send_raw'\nhex = 'xy'", "step 1 (send_raw): hex must be pairs of the digits 0-9 and a-f"),
        ("[[step]]\nat = 1\nwhen = 'connected'\n" + NOTICE, "when: a step has either at or when"),
        ("[[step]]\nat = 1\nafter = 1\n" + NOTICE, "after: a step has either at or after"),
        ("[[step]]\nevery = 1\n" + NOTICE, "every: needs at, the time of the first"),
        ("[[step]]\nat = 1\nevery = 0\n" + NOTICE, "every: must be above 0"),
        ("[[step]]\ntimes = 2\n" + NOTICE, "times: needs every or when"),
        ("[[step]]\nwhen = 'connected'\ntimes = -1\n" + NOTICE, "times: must be a whole number"),
        ("[[step]]\nwhen = 'gone'\n" + NOTICE, "when: the event must be one of connected, requested, subscribed"),
        ("[[step]]\nwhen = 3\n" + NOTICE, "when: must be a table, is a whole number"),
        (
            "[[step]]\nwhen = {event = 'connected', clint = 1}\n" + NOTICE,
            "when: no key 'clint'; did you mean 'client'?",
        ),
        ("[[step]]\nwhen = {event = 'connected', instrument = 'A'}\n" + NOTICE, "'connected' is filtered by client"),
        ("[[step]]\nwhen = {event = 'requested', message = 'REQ_X'}\n" + NOTICE, "no request is called 'REQ_X'"),
        ("[[step]]\ndo = 'send_error'\ncode = 1\ntext = ''\nkind = 'x'", "no kind of line is called 'x'; there are"),
    ],
)
def test_a_mistake_is_told_in_one_line_with_step_and_key(text: str, complaint: str) -> None:
    with pytest.raises(ScriptError) as told:
        parse_script(text, name="night.toml")
    assert complaint in str(told.value)
    assert "\n" not in str(told.value)


def test_a_script_that_cannot_be_read_is_told_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"nowhere\.toml: No such file"):
        load_script(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b"title = '\xe9'")
    with pytest.raises(ScriptError, match=r"latin\.toml: is not UTF-8 text"):
        load_script(tmp_path / "latin.toml")


async def test_an_unknown_instrument_is_told_when_the_script_is_played_and_nothing_of_it_happens() -> None:
    script = parse_script(steps("at = 0") + "[[step]]\ndo = 'bust'\ninstrument = 'APPL'", name="night.toml")
    async with Simulator(still()) as sim, connected(sim) as peer:
        with pytest.raises(ScriptError, match=r"night\.toml: step 2 \(bust\): instrument: there is no 'APPL'"):
            sim.play_scenario(script)
        assert await codes(peer) == []
        assert sim.scenario_done


async def test_steps_are_done_at_their_times_from_the_first_client_on() -> None:
    script = parse_script(steps('at = "2s"', "at = 1", 'at = "1500ms"', "at = 0"))
    async with Simulator(still()) as sim:
        sim.play_scenario(script)
        await sim.advance(60.0)
        async with connected(sim) as peer:
            assert await codes(peer) == [2103]
            await sim.advance(0.999)
            assert await codes(peer) == [2103]
            await sim.advance(0.501)
            assert await codes(peer) == [2103, 2101, 2102]
            assert not sim.scenario_done
            await sim.advance(0.5)
            assert await codes(peer) == [2103, 2101, 2102, 2100]
            assert sim.scenario_done


async def test_a_script_may_count_from_its_own_beginning_instead() -> None:
    script = parse_script('from = "start"\n' + steps("at = 5", "at = 10"))
    async with Simulator(still()) as sim:
        sim.play_scenario(script)
        await sim.advance(7.0)
        async with connected(sim) as peer:
            await sim.advance(3.0)
            assert await codes(peer) == [2101]
        assert sim.actions_done == {"send_notice": 2}


async def test_a_step_without_a_time_follows_the_one_before_it() -> None:
    script = parse_script(steps("at = 1", "", "after = 2", "after = 1"))
    async with Simulator(still()) as sim, connected(sim) as peer:
        sim.play_scenario(script)
        for seconds, expected in ((1.0, [2100, 2101]), (1.9, []), (0.1, [2102]), (1.0, [2103])):
            before = await codes(peer)
            await sim.advance(seconds)
            assert (await codes(peer))[len(before) :] == expected
        assert sim.scenario_done


async def test_a_first_step_without_a_time_is_done_at_once_and_may_wait() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        sim.play_scenario(parse_script(steps("")))
        assert await codes(peer) == [2100]
        sim.play_scenario(parse_script(steps("after = 3")))
        await sim.advance(2.9)
        assert await codes(peer) == [2100]
        await sim.advance(0.1)
        assert await codes(peer) == [2100, 2100]


async def test_a_step_can_be_done_again_and_again_with_those_that_follow_it() -> None:
    script = parse_script(steps("at = 1\nevery = 10\ntimes = 3", "after = 4"))
    async with Simulator(still()) as sim, connected(sim) as peer:
        sim.play_scenario(script)
        await sim.advance(24.9)
        assert await codes(peer) == [2100, 2101, 2100, 2101, 2100]
        assert not sim.scenario_done
        await sim.advance(1000.0)
        assert await codes(peer) == [2100, 2101] * 3
        assert sim.scenario_done


async def test_without_times_a_step_has_no_end() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        sim.play_scenario(parse_script(steps("at = 0\nevery = 1")))
        await sim.advance(30.0)
        assert await codes(peer) == [2100] * 31
        assert sim.scenario_done


async def test_a_step_waits_for_a_client() -> None:
    script = parse_script(steps("when = 'connected'", "when = {event = 'connected', client = 2}\ntimes = 0"))
    async with Simulator(still()) as sim:
        sim.play_scenario(script)
        async with connected(sim) as first:
            assert await codes(first) == [2100]
        for _ in range(2):
            await sim.wait_for(lambda: sim.clients() == [])
            async with connected(sim, client_id=2) as second:
                assert await codes(second) == [2101]


async def test_clients_that_are_there_count_as_connecting_when_a_script_begins() -> None:
    async with Simulator(still()) as sim, connected(sim) as first:
        sim.play_scenario(parse_script(steps("when = {event = 'connected', skip = 1}")))
        assert await codes(first) == []
        async with connected(sim, client_id=2) as second:
            assert await codes(second) == [2100]


async def test_a_step_waits_for_a_subscription_of_its_instrument_and_kind() -> None:
    script = parse_script(
        steps(
            "when = {event = 'subscribed', instrument = 'MSFT'}",
            "when = {event = 'subscribed', message = 'REQ_MKT_DEPTH'}",
            "when = {event = 'subscribed', message = [97, 'REQ_REAL_TIME_BARS'], skip = 1}\nafter = 5",
        )
    )
    async with Simulator(still(initial_ticks=False)) as sim, connected(sim) as peer:
        sim.play_scenario(script)
        await peer.ask("reqMktData", 1, stock("AAPL"), "", False, False, [])
        assert await codes(peer) == []
        await peer.ask("reqMktData", 2, stock("MSFT"), "", False, False, [])
        assert await codes(peer) == [2100]
        await peer.ask("reqMktDepth", 3, stock("AAPL"), 5, False, [])
        assert await codes(peer) == [2100, 2101]
        await peer.ask("reqTickByTickData", 4, stock("AAPL"), "BidAsk", 0, False)
        await peer.ask("reqRealTimeBars", 5, stock("AAPL"), 5, "TRADES", False, [])
        assert await codes(peer) == [2100, 2101]
        assert not sim.scenario_done
        await sim.advance(5.0)
        assert await codes(peer) == [2100, 2101, 2102]
        assert sim.scenario_done


async def test_a_step_set_off_by_a_request_may_change_the_answer_to_that_request() -> None:
    script = parse_script(
        """
        [[step]]
        when = { event = "requested", message = "REQ_MKT_DATA", instrument = "AAPL", skip = 1 }
        do = "refuse"
        code = 354
        text = "no"
        count = 1
        """
    )
    async with Simulator(still()) as sim, connected(sim) as peer:
        sim.play_scenario(script)
        for req_id, symbol in enumerate(("AAPL", "MSFT", "AAPL", "AAPL"), 1):
            await peer.ask("reqMktData", req_id, stock(symbol), "", False, False, [])
        await peer.settle()
        assert peer.errors() == [(3, 354)]
        assert sim.line_count() == 3


async def test_a_step_waits_for_any_future_of_a_symbol() -> None:
    script = parse_script(
        """
        [[step]]
        when = { event = "subscribed", instrument = "ES" }
        times = 0
        do = "competing_session"
        for = "60s"
        """
    )
    async with Simulator(still()) as sim, connected(sim) as peer:
        sim.play_scenario(script)
        for req_id, each in enumerate(sim.world.catalogue.match(ContractSpec(symbol="ES", sec_type="FUT"), 2), 1):
            contract = stock("", exchange="CME")
            contract.conId, contract.secType = each.con_id, "FUT"
            await peer.ask("reqMktData", req_id, contract, "", False, False, [])
            await peer.settle()
            assert sim.actions_done["competing_session"] == req_id
            await sim.advance(61.0)
        await peer.ask("reqMktData", 9, stock("AAPL"), "", False, False, [])
        await peer.settle()
        assert sim.actions_done["competing_session"] == 2


async def test_two_scripts_run_side_by_side() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        sim.play_scenario(parse_script(steps("at = 1\nevery = 2\ntimes = 2")))
        sim.play_scenario(parse_script(steps("at = 9", "at = 2")))
        await sim.advance(4.0)
        assert await codes(peer) == [2100, 2101, 2100]
        assert not sim.scenario_done
        await sim.advance(5.0)
        assert sim.scenario_done


async def test_a_script_keeps_its_times_on_a_clock_that_runs_fast(tmp_path: Path) -> None:
    path = tmp_path / "fast.toml"
    path.write_text(steps("at = '1m'", "at = '20m'"))
    settings = SimulatorSettings(clock_speed=10_000.0, start_time_s=FIXED_START_S)
    async with Simulator(settings) as sim, connected(sim) as peer:
        begun = sim.world.clock.now_s()
        sim.play_scenario(path)
        await sim.wait_for(lambda: sim.scenario_done)
        assert sim.world.clock.now_s() >= begun + 1200.0
        assert await codes(peer) == [2100, 2101]
