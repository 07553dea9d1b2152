"""The programs in examples/, each run as its first line says, beside a sidecar and a simulated gateway."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from ibkr_actor.cli.replay_source import records_in
from ibkr_actor.schema.codec import decode_record
from ibkr_actor.schema.records import Gap, Quote, Reset
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import DEADLINE_S, KEYS, House, own_environment, running_house, running_redis

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NODE = EXAMPLES / "node"
QUOTES = KEYS.stream("quote", "AAPL.STK.SMART.USD")
Said = subprocess.CompletedProcess[str]


@asynccontextmanager
async def beside(**settings: Any) -> AsyncIterator[tuple[House, Simulator, str]]:
    async with (
        running_redis() as server,
        Simulator(SimulatorSettings(ticks_per_s=50.0)) as sim,
        running_house(server.own_url, sim.port, **settings) as house,
    ):
        yield house, sim, server.url


async def program(url: str, *line: str | Path, cwd: Path = ROOT) -> Said:
    """A program to its end; what it says stands in the failure if it does not come to one."""

    def run() -> Said:
        return subprocess.run(
            [str(each) for each in line],
            env=own_environment(IBKR_REDIS_URL=url, PYTHONPATH=str(ROOT), PYTHONUNBUFFERED="1"),
            cwd=cwd, capture_output=True, text=True, timeout=DEADLINE_S, check=False,
        )  # fmt: skip

    return await anyio.to_thread.run_sync(run)


async def python(url: str, name: str, *arguments: str | Path) -> Said:
    said = await program(url, sys.executable, EXAMPLES / name, *arguments)
    assert (said.returncode, said.stderr) == (0, ""), said
    return said


async def until_no_line(house: House, sim: Simulator, key: str) -> None:
    """The program gave back what it held."""
    await house.until(key, lambda records: bool(records) and type(records[-1]).__name__ == "End")
    await sim.wait_for(lambda: sim.line_count() == 0)


async def test_the_python_readers_print_quotes_and_give_their_lines_back() -> None:
    async with beside() as (house, sim, url):
        said = await python(url, "read_quotes.py", "AAPL", "3")
        quotes = [line.split() for line in said.stdout.splitlines() if " AAPL.STK.SMART.USD " in line]
        assert len(quotes) == 3
        assert float(quotes[-1][2]) > 0
        await until_no_line(house, sim, QUOTES)
        said = await python(url, "subscribe.py", "AAPL", "MSFT", "--count", "6")
        assert len(said.stdout.splitlines()) == 6
        assert "left out)" in said.stdout


async def test_the_strategy_decides_when_it_has_learnt_and_learns_anew_after_a_reset() -> None:
    async with beside() as (house, sim, url):
        said = await python(url, "strategy.py", "AAPL", "--seconds", "3")
        lines = said.stdout.splitlines()
        assert any("reset (start): learning anew" in line for line in lines)
        assert any(re.search(r"AAPL\.STK\.SMART\.USD: (long|short) at ", line) for line in lines)
        assert re.search(r": \d+ quotes since the last interruption, (long|short)$", lines[-1])
        await until_no_line(house, sim, QUOTES)


@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="no redis-cli here (Debian: redis-tools)")
async def test_redis_cli_alone_subscribes_and_reads() -> None:
    async with beside(encoding="json") as (house, sim, url):
        said = await program(url, EXAMPLES / "redis-cli.sh", "AAPL", "3")
        assert (said.returncode, said.stderr) == (0, "")
        reply, *entries = said.stdout.splitlines()
        assert json.loads(reply)["status"] == "accepted"
        records = [decode_record({b"j": line.split(" ", 1)[1].encode()}) for line in entries]
        assert len(records) == 3
        assert all(isinstance(record, Quote | Reset) for record in records)
        await until_no_line(house, sim, QUOTES)
        said = await program(url, EXAMPLES / "redis-cli.sh", "NOSUCH")
        assert said.returncode == 1
        assert "invalid_instrument" in said.stdout


@pytest.mark.slow
async def test_the_recorder_writes_every_record_once_though_it_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    out = tmp_path / "out"
    line = [sys.executable, str(EXAMPLES / "record_parquet.py"), str(out)]
    async with beside() as (house, _, url):
        keys = await house.subscribe("AAPL", "quote", "tick", "depth", client="holder")
        environment = own_environment(IBKR_REDIS_URL=url, PYTHONPATH=str(ROOT))
        process = await anyio.open_process([*line, "--every", "0.1"], env=environment, stdout=subprocess.PIPE)
        assert process.stdout is not None
        seen = b""
        with anyio.fail_after(DEADLINE_S):
            while seen.count(b" rows\n") < 5:
                seen += await process.stdout.receive()
        process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()
        said = await python(url, "record_parquet.py", out, "--every", "0.2", "--count", "200")
        assert "rows" in said.stdout
        written: dict[str, list[str]] = {}
        for part in sorted(out.glob("*/part-*.parquet"), key=lambda path: path.name):
            for entry in records_in(part):
                written.setdefault(entry.key, []).append(entry.id)
        assert set(written) == {key.removeprefix(KEYS.root + ":") for key in keys}
        for stream, ids in written.items():
            assert max(Counter(ids).values()) == 1
            entries: Any = await house.redis.xrange(f"{KEYS.root}:{stream}", min=ids[0], max=ids[-1])
            assert ids == [entry_id.decode() for entry_id, _ in entries]


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["msgpack", "json"])
@pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="no node and npm here")
async def test_node_reads_both_encodings_and_goes_on_where_it_stopped(encoding: str, tmp_path: Path) -> None:
    for name in ("package.json", "package-lock.json", "read_quotes.mjs"):
        shutil.copy(NODE / name, tmp_path)
    try:
        installed = await program("", "npm", "ci", "--no-audit", "--no-fund", "--prefer-offline", cwd=tmp_path)
    except subprocess.TimeoutExpired:
        pytest.skip("npm cannot install: no answer from its registry")
    if installed.returncode:
        pytest.skip(f"npm cannot install: {installed.stderr.strip().splitlines()[-1:]}")
    async with beside(encoding=encoding) as (house, sim, url):
        await house.subscribe("AAPL", "quote", client="holder")
        ids: list[str] = []
        for _ in range(2):
            said = await program(url, "node", "read_quotes.mjs", "AAPL", "5", cwd=tmp_path)
            assert (said.returncode, said.stderr) == (0, ""), said
            quotes = [line.split() for line in said.stdout.splitlines() if " AAPL " in line]
            assert len(quotes) == 5
            assert all(float(price) > 0 for price in quotes[-1][2:])
            ids += [row[0] for row in quotes]
        entries: Any = await house.redis.xrange(QUOTES, min=ids[0], max=ids[-1])
        assert ids == [entry_id.decode() for entry_id, fields in entries if isinstance(decode_record(fields), Quote)]
        # What was lost while nobody read is told when it is read.
        sim.cut()
        await house.until(QUOTES, lambda records: any(isinstance(each, Gap) for each in records))
        said = await program(url, "node", "read_quotes.mjs", "AAPL", "400", cwd=tmp_path)
        assert said.returncode == 0, said
        (told,) = [line for line in said.stdout.splitlines() if " gap (" in line]
        assert "gap (disconnect): an unknown number of records are missing" in told
        assert "too slow" not in said.stdout
        said = await program(url, "node", "read_quotes.mjs", "NOSUCH", cwd=tmp_path)
        assert (said.returncode, said.stderr.split(":")[0]) == (1, "invalid_instrument")
        await sim.wait_for(lambda: sim.line_count() == 1)
        # The same in the README, in short.
        (block,) = re.findall(r"^```js\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
        (tmp_path / "readme.mjs").write_text(block)
        shown = await program(url, "bash", "-c", "node readme.mjs | head -n 4", cwd=tmp_path)
        rows = [line.split() for line in shown.stdout.splitlines()]
        assert len(rows) == 4
        assert all(float(price) > 0 for price in rows[-1][1:])


async def test_the_lock_file_of_the_node_example_names_no_host() -> None:
    text = (NODE / "package-lock.json").read_text()
    assert "resolved" not in text
    assert "://" not in re.sub(r'"url": "[^"]*"', "", text)
    assert text.count('"integrity": "sha512-') >= 2
