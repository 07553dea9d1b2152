"""Record streams to Parquet, each record exactly once: python examples/record_parquet.py OUT [INSTRUMENT...].

Without instruments it records all streams that somebody has subscribed to; with them it subscribes itself. An hour
(UTC, by the time the first record of a part came) is a directory of parts: `pandas.read_parquet("OUT/2026-11-22T14")`
reads it whole, and `ibkr-actor replay PART` plays one. IBKR_REDIS_URL names the server. Needs the extra `parquet`.

Exactly once: a part holds its rows and, in its metadata, how far every stream was read, and it appears under its name
in one step. Whatever ends this program, the next run goes on behind the newest part. Gaps and resets are rows like any
other, and what was trimmed before it was read is a row with the tag `missed`: nothing is lost in silence.
"""

import argparse
import contextlib
import itertools
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import anyio
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from ibkr_actor.client import Checkpoint, Client, Feed, Item, Missed, Refused
from ibkr_actor.schema.records import Bars, DataRecord, Done, Ticks

CHECKPOINTS = b"ibkr_actor.checkpoints"
# All that stands in live streams; the results of history jobs have streams of their own.
KINDS = [kind for kind in get_args(DataRecord) if kind not in (Bars, Ticks, Done)]
NAMES = ["stream", "id", "tag", *dict.fromkeys(name for kind in KINDS for name in kind.__struct_fields__)]
# What is neither text nor a plain number (rows of order books, a tick's value) stands as JSON in its column.
TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def column_type(name: str) -> pa.DataType:
    kinds = {kind.__annotations__.get(name) for cls in KINDS for kind in cls.__mro__[:-2]} - {None}
    plain = {str(kind).removesuffix(" | None") for kind in kinds}
    return next((TYPES[each] for each in TYPES if plain == {each.__name__}), pa.string())


SCHEMA = pa.schema([(name, pa.string() if name in ("stream", "id", "tag") else column_type(name)) for name in NAMES])


def row_of(item: Item[Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"stream": item.stream.name, "id": item.id}
    if isinstance(item.record, Missed):
        return row | {"tag": "missed", "lost": item.record.lost, "first_seq": item.record.first_seq}
    row["tag"] = str(item.record.__struct_config__.tag)
    for name in item.record.__struct_fields__:
        value = getattr(item.record, name)
        as_json = pa.types.is_string(SCHEMA.field(name).type) and not isinstance(value, str | None)
        row[name] = msgspec.json.encode(value).decode() if as_json or name == "value" else value
    return row


class Starts(dict[str, Checkpoint | str]):
    """Where to begin: behind the checkpoint, or without one at the oldest entry."""

    def get(self, name: str, default: Any = None) -> Checkpoint | str:
        return super().get(name) or "0-0"


class Recorder:
    """Rows that wait, and the parts that are written."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.rows: list[dict[str, Any]] = []
        self.written = 0
        parts = sorted(out.glob("*/part-*.parquet"), key=lambda path: path.name)
        self.number = itertools.count(int(parts[-1].stem.removeprefix("part-")) + 1 if parts else 1)
        self.checkpoints: dict[str, Checkpoint] = {}
        if parts:
            text = pq.read_schema(parts[-1]).metadata[CHECKPOINTS]
            self.checkpoints = msgspec.json.decode(text, type=dict[str, Checkpoint])

    def write(self, checkpoints: dict[str, Checkpoint]) -> None:
        """All rows so far as a part. No `await` in here: rows and checkpoints are of one moment."""
        if not self.rows:
            return
        self.checkpoints |= checkpoints
        first_ns = next((row["received_ns"] for row in self.rows if row.get("received_ns")), time.time_ns())
        folder = self.out / datetime.fromtimestamp(first_ns / 1e9, UTC).strftime("%Y-%m-%dT%H")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"part-{next(self.number):09}.parquet"
        metadata = {CHECKPOINTS: msgspec.json.encode(self.checkpoints)}
        table = pa.Table.from_pylist(self.rows, schema=SCHEMA.with_metadata(metadata))
        unfinished = path.with_suffix(".unfinished")
        pq.write_table(table, unfinished, compression="zstd")
        unfinished.rename(path)
        self.written += len(self.rows)
        self.rows = []
        print(f"{path}: {table.num_rows} rows", flush=True)


async def main(arguments: argparse.Namespace) -> None:
    recorder = Recorder(arguments.out)
    async with Client(os.environ.get("IBKR_REDIS_URL", "redis://127.0.0.1:6379/0")) as client:
        start = Starts(recorder.checkpoints)
        if arguments.instruments:
            feed = client.stream(arguments.kinds.split(","), *arguments.instruments, start=start, refused="yield")
        else:
            held = [row["stream"] for row in await client.list()]
            if not held:
                raise SystemExit("nobody has subscribed to anything: name instruments")
            feed = client.watch(*held, start=start)
        await record(feed, recorder, arguments)


async def record(feed: Feed[Any], recorder: Recorder, arguments: argparse.Namespace) -> None:
    async with anyio.create_task_group() as tasks:

        async def write_often() -> None:
            while True:
                await anyio.sleep(arguments.every)
                recorder.write(feed.checkpoints())

        tasks.start_soon(write_often)
        try:
            async for item in feed:
                if isinstance(item.record, Refused):
                    print(f"{item.stream.name}: {item.record.error}", flush=True)
                    continue
                recorder.rows.append(row_of(item))
                if len(recorder.rows) >= arguments.rows:
                    recorder.write(feed.checkpoints())
                if arguments.count and recorder.written + len(recorder.rows) >= arguments.count:
                    break
        finally:
            recorder.write(feed.checkpoints())
            tasks.cancel_scope.cancel()


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("out", type=Path)
parser.add_argument("instruments", nargs="*")
parser.add_argument("--kinds", default="quote,trade")
parser.add_argument("--every", type=float, default=60.0, help="seconds between parts (default 60)")
parser.add_argument("--rows", type=int, default=50_000, help="rows after which a part is written anyway")
parser.add_argument("--count", type=int, default=0, help="stop after so many rows (default: Ctrl-C)")
with contextlib.suppress(KeyboardInterrupt):
    anyio.run(main, parser.parse_args())
