"""`ibkr-actor history`: files in three forms, several instruments, what it says when something is missing or wrong."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from ibkr_actor.cli.history import Progress, command_of
from ibkr_actor.cli.history_files import open_writer
from ibkr_actor.cli.main import EXIT_CONFIGURATION, main, parser
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.schema.commands import History, HistoryTicks
from ibkr_actor.schema.records import FEED_LIVE, Bars, Done, Hole, Ticks
from ibkr_actor.sim import Simulator
from tests.e2e.kit import House
from tests.e2e.past import of_the_tape, running_past, ticks_of_the_tape
from tests.e2e.test_process import run

Said = subprocess.CompletedProcess[str]
Say = Callable[[list[str]], Said]
DAYS = ["--start", "2025-11-24", "--end", "2025-12-01", "--bar", "1d"]
AAPL = "AAPL.STK.SMART.USD"


async def commanded(folder: Path, *lines: list[str]) -> tuple[Simulator, list[Said]]:
    """Runs each command line beside a sidecar on a simulator."""
    async with running_past() as (sim, house):
        return sim, [await one(house, folder, line) for line in lines]


async def one(house: House, folder: Path, line: list[str]) -> Said:
    return await anyio.to_thread.run_sync(lambda: run(["history", *line, "--redis-url", house.url], folder))


def utc(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.anyio
async def test_bars_go_to_csv_json_and_parquet_and_to_standard_output_as_they_are(tmp_path: Path) -> None:
    wanted = ["AAPL", *DAYS, "--rth"]
    forms = [[*wanted, "--out", f"days.{form}"] for form in ("csv", "json", "parquet")]
    sim, said = await commanded(tmp_path, *forms, wanted)
    assert [(each.returncode, each.stderr) for each in said] == [(0, "")] * 4
    expected = of_the_tape(sim, AAPL, "1d", "TRADES", "2025-11-24", "2025-12-01", True)
    assert len(expected) == 5
    written = (tmp_path / "days.csv").read_text()
    assert said[3].stdout == written
    rows = list(csv.DictReader(io.StringIO(written)))
    assert list(rows[0]) == [
        "start", "end", "open", "high", "low", "close", "volume", "wap", "count", "session_date",
    ]  # fmt: skip
    assert [(row["start"], row["end"], float(row["close"]), row["volume"]) for row in rows] == [
        (utc(bar[0]), utc(bar[1]), bar[2][3], bar[3]) for bar in expected
    ]
    objects = [json.loads(line) for line in (tmp_path / "days.json").read_text().splitlines()]
    assert [(each["start"], each["open"], each["count"]) for each in objects] == [
        (utc(bar[0]), bar[2][0], bar[4]) for bar in expected
    ]
    assert [row["session_date"] for row in rows] == [
        "20251124", "20251125", "20251126", "20251128", "20251201",
    ]  # fmt: skip
    table = pytest.importorskip("pyarrow.parquet").read_table(tmp_path / "days.parquet")
    assert [int(value.value) for value in table.column("start")] == [bar[0] for bar in expected]
    assert str(table.schema.field("start").type) == "timestamp[ns, tz=UTC]"
    assert table.column("high").to_pylist() == [bar[2][1] for bar in expected]
    assert table.column("volume").to_pylist() == [bar[3] for bar in expected]


@pytest.mark.anyio
async def test_several_instruments_go_into_one_file_with_a_column_that_names_them(tmp_path: Path) -> None:
    names = ["AAPL", "EUR.CASH.IDEALPRO.USD", "NOSUCH"]
    sim, (said,) = await commanded(tmp_path, [*names, *DAYS, "--out", "all.csv"])
    # One that could not be had does not take the others with it.
    assert said.returncode == 1
    assert said.stderr.splitlines() == [
        "ibkr-actor: invalid_instrument: NOSUCH: no such contract; IB says (200): No security definition has been "
        "found for the request; `ibkr-actor search` finds what there is"
    ]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "all.csv").read_text())))
    for name, instrument, show in (("AAPL", AAPL, "TRADES"), (names[1], names[1], "MIDPOINT")):
        expected = of_the_tape(sim, instrument, "1d", show, "2025-11-24", "2025-12-01", False)
        assert [row["start"] for row in rows if row["instrument"] == name] == [utc(bar[0]) for bar in expected]
    assert {row["instrument"] for row in rows} == {"AAPL", names[1]}


@pytest.mark.anyio
async def test_ticks_go_to_a_file_and_holes_are_named_and_are_no_success(tmp_path: Path) -> None:
    sim, (ticks, old) = await commanded(
        tmp_path,
        ["AAPL", "--ticks", "--start", "2026-01-12T15:00:00", "--end", "2026-01-12T15:02:00", "--out", "t.csv"],
        ["AAPL", "--bar", "5s", "--start", "2025-03-03", "--end", "2025-03-03"],
    )
    assert (ticks.returncode, ticks.stderr) == (0, "")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text())))
    expected = ticks_of_the_tape(sim, AAPL, "TRADES", "2026-01-12T15:00:00", "2026-01-12T15:02:00", False)
    assert [(float(row["price"]), row["size"]) for row in rows] == [tick[1:] for tick in expected]
    assert old.returncode == 1
    assert old.stderr.startswith("ibkr-actor: AAPL: incomplete: too_old 2025-03-03T09:00:00Z to ")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["AAPL", "--start", "2025-01-01", "--out", "x.xlsx"], "ibkr-actor: --out x.xlsx: the extension must be"),
        (["AAPL", "--start", "2025-01-01", "--out", "no/x.csv"], "ibkr-actor: --out no/x.csv: No such file"),
        (["AAPL", "AAPL", "--start", "2025-01-01"], "ibkr-actor: each instrument may be named once"),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_status_2(
    arguments: list[str],
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["history", *arguments, "--redis-url", "redis://127.0.0.1:1"]) == EXIT_CONFIGURATION
    assert capsys.readouterr().err.splitlines()[-1].startswith(line)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [["AAPL"], ["--start", "2025-01-01"], ["AAPL", "--start", "x", "--ticks", "--bar"]]
)
def test_what_is_missing_is_said_by_the_parser(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["history", *arguments])
    assert ended.value.code == EXIT_CONFIGURATION
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("ibkr-actor history: ")


def test_without_a_sidecar_or_redis_one_line_says_so(tmp_path: Path) -> None:
    done = run(["history", "AAPL", *DAYS], tmp_path, IBKR_DATA_DIR=str(tmp_path))
    assert done.returncode == EXIT_CONFIGURATION
    assert "no embedded server runs" in done.stderr.splitlines()[-1]
    done = run(["history", "AAPL", *DAYS], tmp_path, IBKR_REDIS_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 1
    assert "Redis does not answer" in done.stderr


def test_a_file_stands_under_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "days.csv"
    path.write_text("of yesterday")

    def broken() -> None:
        with open_writer(path, ticks=False, many=False) as writer:
            writer.write("AAPL", bars())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert path.read_text() == "of yesterday"


def test_without_pyarrow_parquet_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with (
        pytest.raises(ConfigurationError, match="ibkr-actor\\[parquet\\]"),
        open_writer(tmp_path / "x.parquet", ticks=False, many=False),
    ):
        pass


def test_what_is_unknown_is_empty_in_csv_and_null_in_json(tmp_path: Path) -> None:
    entry = Bars(1, 1, 1, 1, None, FEED_LIVE, 0, "MIDPOINT", "1d",
                 [(0, 86_400_000_000_000, 1.5, None, None, -1.5, None, None, None, None)])  # fmt: skip
    for name in ("x.csv", "x.json"):
        with open_writer(tmp_path / name, ticks=False, many=False) as writer:
            writer.write("X", entry)
            writer.finish()
    assert (tmp_path / "x.csv").read_text().splitlines()[
        1
    ] == "1970-01-01T00:00:00Z,1970-01-02T00:00:00Z,1.5,,,-1.5,,,,"
    (row,) = [json.loads(line) for line in (tmp_path / "x.json").read_text().splitlines()]
    assert (row["high"], row["close"], row["volume"]) == (None, -1.5, None)


def test_ticks_of_each_kind_fill_their_columns(tmp_path: Path) -> None:
    second = 10**9
    with open_writer(tmp_path / "x.csv", ticks=True, many=True) as writer:
        writer.write("A", Ticks(1, 1, 1, 1, None, FEED_LIVE, 0, "MIDPOINT", [[second, 1.5]]))
        rows: list[list[int | float | str | bool | None]] = [[second, 1.0, 2.0, "3", "4", False, True]]
        writer.write("B", Ticks(1, 1, 1, 1, None, FEED_LIVE, 0, "BID_ASK", rows))
        writer.finish()
    found = list(csv.DictReader(io.StringIO((tmp_path / "x.csv").read_text())))
    assert (found[0]["instrument"], found[0]["price"], found[0]["bid"]) == ("A", "1.5", "")
    assert (found[1]["bid"], found[1]["ask_size"], found[1]["ask_past_high"]) == ("1.0", "4", "True")


def test_the_arguments_become_the_command() -> None:
    line = ["history", "AAPL", "--start", "2025-01-01", "--end", "2025-01-31", "--bar", "5m", "--backfill", "--no-rth"]
    arguments = parser().parse_args([*line, "--what", "BID"])
    assert command_of(arguments, "AAPL") == History(
        instrument="AAPL", start="2025-01-01", end="2025-01-31", bar="5m", what_to_show="BID", use_rth=False,
        priority="backfill",
    )  # fmt: skip
    arguments = parser().parse_args(["history", "AAPL", "--start", "2025-01-01", "--ticks"])
    assert command_of(arguments, "AAPL") == HistoryTicks(instrument="AAPL", start="2025-01-01")


def test_the_progress_line_shows_share_rows_and_the_longest_eta() -> None:
    progress = Progress(["A", "B"], shown=False)
    assert progress.line(0.0) == f"[{' ' * 30}]   0%  0 rows"
    progress.rows("A", 12_000)
    progress.told("A", {"windows": 4, "windows_done": 2, "eta_s": None})
    assert progress.line(0.0) == f"[{'#' * 8}{' ' * 22}]  25%  12,000 rows"
    progress.done("A", done("complete"))
    progress.done("B", done("complete"))
    assert progress.line(0.0) == f"[{'#' * 30}] 100%  12,000 rows"
    assert progress.troubles == []


def test_troubles_name_the_holes_or_the_reason() -> None:
    progress = Progress(["A", "B", "C"], shown=False)
    progress.done("A", done("incomplete", Hole(0, 86_400_000_000_000, "no_data")))
    progress.done("B", done("cancelled", message="cancelled by admin"))
    progress.failed("C", "busy: C: too much")
    assert progress.troubles == [
        "A: incomplete: no_data 1970-01-01T00:00:00Z to 1970-01-02T00:00:00Z",
        "B: cancelled: cancelled by admin",
        "busy: C: too much",
    ]


def done(outcome: str, *holes: Hole, message: str = "") -> Done:
    return Done(1, 1, 1, 1, None, FEED_LIVE, 0, outcome, 0, 1, 0, 0, None, None, list(holes), message)


def bars() -> Bars:
    return Bars(1, 1, 1, 1, None, FEED_LIVE, 0, "TRADES", "1d", [(0, 1, 1.0, 1.0, 1.0, 1.0, "1", "1", 1, "20250101")])
