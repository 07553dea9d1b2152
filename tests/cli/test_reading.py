"""tail, sub, replay and completion as processes, as a shell meets them: output, signals, pipes."""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from ibkr_actor.cli.chain import HEAD, expiry_of, strikes_of
from ibkr_actor.cli.completion import fish, read, zsh
from ibkr_actor.cli.history_files import open_writer
from ibkr_actor.cli.main import EXIT_CONFIGURATION, EXIT_NO, main, parser
from ibkr_actor.cli.record_text import json_line
from ibkr_actor.cli.replay_source import asked_in, form_of, records_in
from ibkr_actor.cli.scan import HEAD as SCAN_HEAD
from ibkr_actor.cli.scan import filters_of
from ibkr_actor.cli.tail import streams_of
from ibkr_actor.client import connect
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.schema.codec import decode_record, record_as_dict
from ibkr_actor.schema.keys import Keys
from ibkr_actor.schema.records import AnyRecord, Bulletin, Quote, Ranking, Tick, Trade
from ibkr_actor.schema.reference_commands import HoldBulletins, HoldScan
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import DEADLINE_S, KEYS, House, own_environment, running_house, running_redis

AAPL = "AAPL.STK.SMART.USD"
ROOT = Path(__file__).parents[2]
ACTOR = [sys.executable, "-m", "ibkr_actor"]
Said = subprocess.CompletedProcess[str]


@asynccontextmanager
async def beside(**settings: Any) -> AsyncIterator[tuple[House, Simulator, str]]:
    async with (
        running_redis() as server,
        Simulator(SimulatorSettings(ticks_per_s=50.0)) as sim,
        running_house(server.own_url, sim.port, **settings) as house,
    ):
        yield house, sim, server.url


async def shell(script: str, url: str, **variables: str) -> Said:
    """A line of bash; `ibkr-actor` is ours."""
    line = script.replace("ibkr-actor", f"{sys.executable} -m ibkr_actor")
    environment = own_environment(IBKR_REDIS_URL=url, PYTHONPATH=str(ROOT), **variables)

    def run() -> Said:
        return subprocess.run(
            ["bash", "-c", line], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S,
            check=False,
        )  # fmt: skip

    return await anyio.to_thread.run_sync(run)


@pytest.mark.anyio
async def test_tail_reads_several_streams_system_and_from_the_last_value(tmp_path: Path) -> None:
    async with beside() as (house, _, url):
        keys = await house.subscribe("AAPL", "quote", "trade")
        await house.until(keys[1], lambda records: any(isinstance(each, Trade) for each in records))
        said = await shell("ibkr-actor tail quote,trade,system AAPL --count 30 --json", url)
        rows = [json.loads(line) for line in said.stdout.splitlines()]
        assert (said.returncode, len(rows)) == (0, 30)
        assert {row["stream"] for row in rows} <= {f"quote:{AAPL}", f"trade:{AAPL}", "system"}
        newest = rows[-1]
        assert decode_record({b"j": said.stdout.splitlines()[-1].encode()}) is not None
        assert newest["id"]
        # One stream after the other: from the newest value on, every seq.
        said = await shell("ibkr-actor tail quote AAPL --from-last --count 5 --json", url)
        seqs = [json.loads(line)["seq"] for line in said.stdout.splitlines()]
        assert seqs == list(range(seqs[0], seqs[0] + 5))
        assert seqs[0] > 1
        # Whoever reads may go: no word about it, and no failure.
        said = await shell("ibkr-actor tail quote AAPL | head -n 1; echo ${PIPESTATUS[0]}", url)
        assert (said.stdout.splitlines()[-1], said.stderr) == ("0", "")


@pytest.mark.anyio
async def test_sub_holds_a_line_while_it_runs_and_gives_it_back_at_ctrl_c() -> None:
    async with beside() as (house, sim, url):
        process = await anyio.open_process(
            [*ACTOR, "sub", "AAPL", "EUR.CASH.IDEALPRO.USD", "--json"],
            env=own_environment(IBKR_REDIS_URL=url), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            seen = b""
            with anyio.fail_after(DEADLINE_S):
                while not (b'"quote:AAPL' in seen and b'"quote:EUR' in seen):
                    seen += await process.stdout.receive()
            await sim.wait_for(lambda: sim.line_count() == 2)
            process.send_signal(signal.SIGINT)
            with anyio.fail_after(DEADLINE_S):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
            with anyio.CancelScope(shield=True):
                await process.aclose()
        await house.until(
            KEYS.stream("quote", AAPL), lambda records: type(records[-1]).__name__ == "End" if records else False
        )
        await sim.wait_for(lambda: sim.line_count() == 0)
        said = await shell("ibkr-actor sub NOSUCH", url)
        assert (said.returncode, said.stdout, said.stderr.count("\n")) == (EXIT_NO, "", 1)
        assert said.stderr.startswith("ibkr-actor: invalid_instrument: ")


@pytest.mark.anyio
async def test_chain_is_a_table_of_every_member_and_gives_its_lines_back() -> None:
    async with beside() as (house, sim, url):
        said = await shell("ibkr-actor chain AAPL --moneyness 0.02", url)
        assert (said.returncode, said.stderr) == (0, "")
        first, _, expiry, head, *rows = said.stdout.splitlines()
        counted = re.fullmatch(r"underlying [\d.]+, (\d+) of (\d+) options with data, \d+ lines", first)
        assert counted is not None
        assert counted[1] == counted[2] == str(2 * len(rows))
        assert re.fullmatch(r"\d{8}", expiry)
        assert head.split() == list(HEAD)
        strikes = [float(row.split()[4]) for row in rows]
        assert strikes == sorted(strikes)
        names: Any = await house.redis.smembers(KEYS.streams)
        (key,) = [name.decode() for name in names if b":chain:" in name]
        await house.until(key, lambda records: bool(records) and type(records[-1]).__name__ == "End")
        await sim.wait_for(lambda: sim.line_count() == 0)
        said = await shell("ibkr-actor chain AAPL --moneyness 0.02 --right C --json --count 6", url)
        tags = [json.loads(row)["tag"] for row in said.stdout.splitlines()]
        assert len(tags) == 6
        assert {"chain", "option"} <= set(tags)
        said = await shell("ibkr-actor chain AAPL --expiry all --moneyness 0.02 --strikes 1,150", url)
        assert (said.returncode, said.stdout) == (EXIT_NO, "")
        assert "no listed option lies in the window: the price of the underlying is 2" in said.stderr


@pytest.mark.anyio
async def test_scan_is_a_table_or_records_and_bulletins_come_as_they_are_told() -> None:
    async with beside() as (house, sim, url):
        said = await shell("ibkr-actor scan TOP_PERC_GAIN --rows 3", url)
        assert (said.returncode, said.stderr) == (0, "")
        head, *rows = said.stdout.splitlines()
        assert head.split() == list(SCAN_HEAD)
        assert [row.split()[0] for row in rows] == ["1", "2", "3"]
        # One that somebody holds begins with its newest ranking.
        held = await house.call(HoldScan(scan_code="TOP_PERC_GAIN", rows=4, filters={"priceAbove": "1"}))
        assert held.streams is not None
        await house.until(held.streams[0], lambda records: any(isinstance(each, Ranking) for each in records))
        said = await shell("ibkr-actor scan TOP_PERC_GAIN --rows 4 --filter priceAbove=1 --json --count 1", url)
        (record,) = [json.loads(row) for row in said.stdout.splitlines()]
        assert (record["tag"], len(record["rows"])) == ("scan", 4)
        (key,) = (await house.call(HoldBulletins())).streams or []
        sim.bulletin("ARCA is available", 3, "ARCA")
        await house.until(key, lambda records: any(isinstance(each, Bulletin) for each in records))
        said = await shell("ibkr-actor bulletins --json --count 1", url)
        assert json.loads(said.stdout)["text"] == "ARCA is available"
        assert not sim.violations


def test_scan_takes_filters_by_name() -> None:
    assert filters_of(["marketCapAbove1e6=1000", "x=a=b"]) == {"marketCapAbove1e6": "1000", "x": "a=b"}
    for wrong in ("nonsense", "=1", "x="):
        with pytest.raises(ConfigurationError, match="NAME=VALUE"):
            filters_of([wrong])


def test_chain_takes_expiries_and_strikes_as_one_types_them() -> None:
    assert [expiry_of(given) for given in ("nearest", "3", "20261218", "20261218,20270115")] == [
        "nearest", 3, "20261218", ["20261218", "20270115"],
    ]  # fmt: skip
    assert strikes_of("180,220.5") == (180.0, 220.5)
    for wrong in ("180", "a,b", "1,2,3"):
        with pytest.raises(ConfigurationError):
            strikes_of(wrong)


@pytest.mark.anyio
async def test_replay_writes_saved_records_as_they_were_under_another_name(tmp_path: Path) -> None:
    saved = tmp_path / "saved.jsonl"
    async with beside() as (house, _, url):
        for key in await house.subscribe("AAPL", "quote", "tick"):
            await house.until(key, lambda records: len(records) > 3)
            entries: Any = await house.redis.xrange(key)
            with saved.open("a") as file:
                for entry_id, fields in entries:
                    file.write(json_line(key.split(":", 2)[2], entry_id.decode(), decode_record(fields)) + "\n")
        said = await shell(f"ibkr-actor replay {saved} --speed 0 --gateway test --json", url)
        lines = saved.read_text().splitlines()
        told = json.loads(said.stdout)
        assert (said.returncode, told["records"]) == (0, len(lines))
        keys = Keys(gateway="test")
        found: list[AnyRecord] = []
        for stream in told["streams"]:
            entries = await house.redis.xrange(f"{keys.root}:{stream}")
            found += [record for _, fields in entries if (record := decode_record(fields)) is not None]
        assert {json.dumps(record_as_dict(record)) for record in found} == {
            json.dumps({name: value for name, value in json.loads(line).items() if name not in ("stream", "id")})
            for line in lines
        }
        last: Any = await house.redis.hgetall(keys.last(AAPL))
        assert isinstance(decode_record({b"d": last[b"quote"]}), Quote)
        # A second time replaces the first; a running sidecar's name is refused.
        await shell(f"ibkr-actor replay {saved} --speed 0 --gateway test", url)
        assert await house.redis.xlen(keys.stream("quote", AAPL)) == sum('"stream":"quote:' in line for line in lines)
    assert main(["replay", str(saved), "--gateway", "g1"]) == EXIT_CONFIGURATION


@pytest.mark.anyio
@pytest.mark.slow
async def test_replay_plays_frames_through_a_sidecar_of_its_own(tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    async with beside(record_dir=str(frames)) as (house, _, _):
        keys = await house.subscribe("AAPL", "quote", "tick", "trade")
        await house.until(keys[2], lambda records: sum(isinstance(each, Trade) for each in records) > 3)
    assert form_of(frames) == "frames"
    (wanted,) = [each for each in asked_in(frames) if "trade" in each.kinds]
    assert set(wanted.kinds) == {"quote", "tick", "trade"}
    async with running_redis() as server, connect(server.own_url) as redis, anyio.create_task_group() as tasks:
        said: list[Said] = []

        async def play() -> None:
            said.append(await shell(f"ibkr-actor replay {frames} --speed 0 --seconds 8", server.url))

        tasks.start_soon(play)
        key = Keys(gateway="replay").stream("trade", AAPL)
        trades = 0
        position: Any = "0"
        with anyio.fail_after(DEADLINE_S):
            while trades < 3:
                answer: Any = await redis.xread({key: position}, block=1000)
                for _, entries in answer or ():
                    position = entries[-1][0]
                    for _, fields in entries:
                        trades += isinstance(decode_record(fields), Trade)
    assert said[0].returncode == 0
    assert f"ibkr:{{replay}}:trade:{AAPL}" in said[0].stdout


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("# words\n", "line 1: no JSON"),
        ('{"a":1}\n', "neither a directory of frames"),
        ("[1]\n", "line 1: no object"),
    ],
)
def test_what_cannot_be_replayed_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=complaint):
        form_of(path)
    with pytest.raises(ConfigurationError, match="No such file"):
        form_of(tmp_path / "none")


def test_a_record_of_a_newer_version_is_left_out_of_a_replay(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    tick = Tick(1, 2, 3, 4, None, 1, 0, 14, 2.5)
    known = {"stream": "tick:X", "id": "1-0"} | record_as_dict(tick)
    path.write_text(json.dumps(known) + "\n" + json.dumps({"stream": "tick:X", "id": "2-0", "tag": "later"}) + "\n")
    assert [entry.record for entry in records_in(path)] == [tick]


def test_tail_takes_kinds_with_commas_and_any_number_of_instruments() -> None:
    def named(*line: str) -> list[str]:
        arguments: argparse.Namespace = parser().parse_args(["tail", *line])
        return streams_of(KEYS, arguments)

    assert named("system") == [KEYS.system]
    assert named("quote,trade", "AAPL", "EUR.CASH.IDEALPRO.USD") == [
        KEYS.stream("quote", AAPL), KEYS.stream("trade", AAPL),
        KEYS.stream("quote", "EUR.CASH.IDEALPRO.USD"), KEYS.stream("trade", "EUR.CASH.IDEALPRO.USD"),
    ]  # fmt: skip
    for wrong in (["quot", "AAPL"], ["quote"], [",", "AAPL"]):
        with pytest.raises(ConfigurationError):
            named(*wrong)


def test_tail_takes_the_names_of_scans_and_bulletins_as_they_are() -> None:
    arguments = parser().parse_args(["tail", "bulletin", "all"])
    assert streams_of(KEYS, arguments) == ["ibkr:{g1}:bulletin:all"]


def test_bash_completes_commands_options_choices_and_files(tmp_path: Path) -> None:
    script = subprocess.run([*ACTOR, "completion", "bash"], capture_output=True, text=True, check=True).stdout
    (tmp_path / "completion.bash").write_text(script)
    (tmp_path / "recording.jsonl").touch()

    def offered(*words: str) -> list[str]:
        typed = " ".join(f"'{word}'" for word in words)
        line = (
            f"source ./completion.bash; COMP_WORDS=(ibkr-actor {typed}); COMP_CWORD={len(words)}; _ibkr_actor; "
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        said = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert said.stderr == ""
        return said.stdout.split()

    commands = [told.name for told in read(parser())]
    assert set(commands) < set(offered(""))
    assert offered("comp") == ["completion"]
    assert offered("completion", "z") == ["zsh"]
    assert offered("schema", "--format", "") == ["asyncapi", "json-schema"]
    assert "--from-last" in offered("tail", "--")
    assert offered("replay", "rec") == ["recording.jsonl"]
    assert offered("history", "--out", "rec") == ["recording.jsonl"]


def test_the_other_shells_are_told_every_command_and_option() -> None:
    commands = read(parser())
    for script in (zsh(commands), fish(commands)):
        for told in commands:
            assert told.name in script
            for option in told.options:
                assert option.names[-1].lstrip("-") in script


def test_the_help_groups_every_command_and_gives_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for line in (["--help"], ["sub", "--help"]):
        with pytest.raises(SystemExit) as ended:
            main(line)
        assert ended.value.code == 0
    out = capsys.readouterr().out
    for told in read(parser()):
        assert f"\n  {told.name} " in out
    assert "\nmore:" not in out, "give the new command a place in cli/arguments.py GROUPS"
    assert "examples:\n  ibkr-actor sub AAPL MSFT" in out


def test_nothing_half_written_is_left_when_the_reading_breaks_off(tmp_path: Path) -> None:
    for name in ("x.csv", "x.json", "x.parquet"):

        def broken(name: str = name) -> None:
            with open_writer(tmp_path / name, ticks=False, many=False):
                raise ConnectionError("Redis went away")

        with pytest.raises(ConnectionError):
            broken()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line",
    ["status", "health", "lines", "search x", "snap AAPL", "tail quote AAPL", "sub AAPL", "chain AAPL",
     "scan TOP_PERC_GAIN", "bulletins",
     "commands renew", "history AAPL --start 2026-01-05", "replay saved.jsonl --gateway test"],
)  # fmt: skip
def test_without_redis_every_command_says_so_in_one_line(
    line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("saved.jsonl").write_text('{"stream":"quote:X","id":"1-0","tag":"later"}\n')
    assert main([*line.split(), "--redis-url", "redis://127.0.0.1:1/0"]) == EXIT_NO
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].startswith("ibkr-actor: Redis does not answer: ")
    assert (said.err.count("\n"), said.out) == (1, "")


def test_history_as_json_goes_to_the_output_and_contradicts_no_extension(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--json"), open_writer(tmp_path / "x.csv", ticks=False, many=False,
                                                                        as_json=True):  # fmt: skip
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("seed", "complaint"), [("x", "x is not a whole number"), ("1.5", "1.5 is not a whole")])
def test_a_seed_that_is_no_number_is_said(seed: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["simulate", "--seed", seed])
    assert complaint in capsys.readouterr().err
