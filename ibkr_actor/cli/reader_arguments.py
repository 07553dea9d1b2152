"""Owns the arguments of the commands that read what a sidecar wrote, or ask it.

Must not import what does their work: a plain install shows this help too.
"""

from __future__ import annotations

from ibkr_actor.cli.arguments import Commands, add_config, add_json, add_redis, command
from ibkr_actor.cli.simulate_arguments import non_negative_float, positive_float, positive_int
from ibkr_actor.schema.keys import KINDS_HELP

INSTRUMENT_HELP = "AAPL, or a canonical id such as EUR.CASH.IDEALPRO.USD; several at once"
RECORD_JSON = "the record by its field names, with stream and id"


def add_readers(commands: Commands) -> None:
    """Every one of them."""
    _add_tail(commands)
    _add_sub(commands)
    _add_snap(commands)
    _add_search(commands)
    _add_chain(commands)
    _add_scan(commands)
    _add_bulletins(commands)
    _add_lookers(commands)
    _add_doctor(commands)
    _add_commands(commands)
    _add_tools(commands)


def _add_tail(commands: Commands) -> None:
    tail = command(
        commands,
        "tail",
        "print the records of streams as they come",
        "ibkr-actor tail quote AAPL",
        "ibkr-actor tail quote,trade AAPL EUR.CASH.IDEALPRO.USD --json",
        "ibkr-actor tail quote AAPL --from-last     # the newest value, then all that follows it",
        "ibkr-actor tail system                     # connection, farms, gaps, pacing",
    )
    tail.add_argument("kind", metavar="KIND", help=f"system, or one or more with commas of: {KINDS_HELP}")
    tail.add_argument("instruments", nargs="*", metavar="INSTRUMENT", help=INSTRUMENT_HELP)
    tail.add_argument(
        "--count", type=positive_int, metavar="N", help="print N records, the ones already there included, and stop"
    )
    tail.add_argument("--from-last", action="store_true", help="begin with the newest value of each stream")
    add_redis(tail)
    add_json(tail, RECORD_JSON)


def _add_sub(commands: Commands) -> None:
    sub = command(
        commands,
        "sub",
        "subscribe, print the records as they come, and give the lines back at the end",
        "ibkr-actor sub AAPL MSFT",
        "ibkr-actor sub AAPL --kinds quote,trade,bar.5s --json | jq .",
        "ibkr-actor sub AAPL --kinds bar.5s --backfill 2h",
    )
    sub.add_argument("instruments", nargs="+", metavar="INSTRUMENT", help=INSTRUMENT_HELP)
    sub.add_argument("--kinds", default="quote", help=f"with commas, of: {KINDS_HELP} (default quote)")
    sub.add_argument("--client", help="name of the holder (default: one of its own for each run)")
    sub.add_argument(
        "--lease",
        type=positive_float,
        default=60.0,
        metavar="S",
        help="seconds after which the lines are given back if this process dies (default 60); renewed meanwhile",
    )
    sub.add_argument("--generic-ticks", metavar="N,N", help="IB's generic tick numbers, for quote, tick and greeks")
    sub.add_argument("--backfill", default="", metavar="SPAN", help="begin with the past: 90s, 2h, 1d or ISO 8601")
    sub.add_argument("--count", type=positive_int, metavar="N", help="print N records and stop")
    sub.add_argument("--timeout", type=positive_float, default=30.0, metavar="S", help="for the answer (default 30)")
    add_redis(sub)
    add_json(sub, RECORD_JSON)


def _add_snap(commands: Commands) -> None:
    snap = command(
        commands,
        "snap",
        "the present values of level 1, without a subscription",
        "ibkr-actor snap AAPL MSFT",
        "ibkr-actor snap AAPL --regulatory --accept-charge",
    )
    snap.add_argument("instruments", nargs="+", metavar="INSTRUMENT", help=INSTRUMENT_HELP)
    snap.add_argument(
        "--regulatory", action="store_true", help="the exchanges' consolidated quote; IB charges for each of them"
    )
    snap.add_argument("--accept-charge", action="store_true", help="yes, --regulatory may cost money")
    snap.add_argument("--timeout", type=positive_float, default=30.0, metavar="S", help="for the answer (default 30)")
    add_redis(snap)
    add_json(snap, "the result of the snapshot")


def _add_search(commands: Commands) -> None:
    search = command(
        commands,
        "search",
        "contracts by symbol or name, as IB finds them",
        "ibkr-actor search apple",
        "ibkr-actor search ES --json",
    )
    search.add_argument("pattern", metavar="TEXT", help="the beginning of a symbol, or a part of a company's name")
    search.add_argument("--timeout", type=positive_float, default=30.0, metavar="S", help="for the answer (default 30)")
    add_redis(search)
    add_json(search, "a contract")


def _add_chain(commands: Commands) -> None:
    chain = command(
        commands,
        "chain",
        "the options on an underlying around its price, as a table, or as records as they come",
        "ibkr-actor chain AAPL",
        "ibkr-actor chain SPY --expiry 3 --moneyness 0.02 --right P",
        "ibkr-actor chain AAPL --expiry 20261218 --strikes 180,220 --follow --json",
    )
    chain.add_argument("instrument", metavar="INSTRUMENT", help="the underlying: AAPL, or a canonical id")
    chain.add_argument(
        "--expiry", default="nearest", help="nearest, all, YYYYMMDD (several with commas), or how many of the next"
    )
    chain.add_argument(
        "--moneyness",
        type=positive_float,
        metavar="X",
        help="half the window of strikes: 0.1 is 10 %% to either side",
    )
    chain.add_argument("--strikes", metavar="LOW,HIGH", help="a fixed window of strikes")
    chain.add_argument("--right", choices=("C", "P", "both"), default="both", help="C, P or both (default both)")
    chain.add_argument("--exchange", default="", help="of the options (default: IB's choice)")
    chain.add_argument("--trading-class", default="", metavar="CLASS", help="such as SPXW (default: all)")
    chain.add_argument("--lines", type=positive_int, metavar="N", help="market data lines it may take")
    chain.add_argument("--follow", action="store_true", help="print the records as they come, until Ctrl-C")
    chain.add_argument("--count", type=positive_int, metavar="N", help="with --follow: print N records and stop")
    chain.add_argument(
        "--timeout",
        type=positive_float,
        default=30.0,
        metavar="S",
        help="for the answer and the table (default 30)",
    )
    add_redis(chain)
    add_json(chain, RECORD_JSON + " (as with --follow)")


def _add_scan(commands: Commands) -> None:
    scan = command(
        commands,
        "scan",
        "what a scan of the market ranks, as a table, or as records as they come",
        "ibkr-actor scan TOP_PERC_GAIN",
        "ibkr-actor scan MOST_ACTIVE --rows 10 --above-price 5 --follow",
        "ibkr-actor scan HOT_BY_VOLUME --filter marketCapAbove1e6=1000 --json",
    )
    scan.add_argument("code", metavar="CODE", help="one of IB's codes, such as TOP_PERC_GAIN")
    scan.add_argument("--instrument", default="STK", help="IB's code of what is ranked (default STK)")
    scan.add_argument("--location", default="STK.US.MAJOR", help="IB's code of where (default STK.US.MAJOR)")
    scan.add_argument("--rows", type=positive_int, default=50, metavar="N", help="50 at most (default 50)")
    scan.add_argument("--above-price", type=non_negative_float, metavar="X", help="what costs more")
    scan.add_argument("--below-price", type=non_negative_float, metavar="X", help="what costs less")
    scan.add_argument("--above-volume", type=positive_int, metavar="N", help="what trades more")
    scan.add_argument(
        "--filter", action="append", default=[], metavar="NAME=VALUE", help="one of IB's; may be repeated"
    )
    scan.add_argument("--follow", action="store_true", help="print the records as they come, until Ctrl-C")
    scan.add_argument("--count", type=positive_int, metavar="N", help="with --follow: print N records and stop")
    scan.add_argument("--timeout", type=positive_float, default=30.0, metavar="S", help="for the table (default 30)")
    add_redis(scan)
    add_json(scan, RECORD_JSON + " (as with --follow)")


def _add_bulletins(commands: Commands) -> None:
    bulletins = command(
        commands,
        "bulletins",
        "print IB's bulletins, those of the day and then as they come",
        "ibkr-actor bulletins",
        "ibkr-actor bulletins --json",
    )
    bulletins.add_argument("--count", type=positive_int, metavar="N", help="print N records and stop")
    add_redis(bulletins)
    add_json(bulletins, RECORD_JSON)


def _add_lookers(commands: Commands) -> None:
    status = command(
        commands,
        "status",
        "the running sidecar's connection, subscriptions, pacing and Redis",
        "ibkr-actor status",
        "ibkr-actor status --json",
    )
    lines = command(
        commands,
        "lines",
        "who holds which market data line, what is left of the budgets, and what waits",
        "ibkr-actor lines",
        'ibkr-actor lines --json | jq \'select(.row == "stream" and .freshness == "stale")\'',
    )
    health = command(
        commands,
        "health",
        "exit 0 when the running sidecar has its gateway and Redis, 1 when not",
        "ibkr-actor health && echo all is well",
        "ibkr-actor health --json",
    )
    for each in (status, lines, health):
        add_redis(each)
    add_json(status, "the whole status")
    add_json(lines, "row is budget, window, queue or stream")
    add_json(health, "healthy and reason")


def _add_doctor(commands: Commands) -> None:
    doctor = command(
        commands,
        "doctor",
        "check Python, ibapi, settings, Redis, the gateway, the handshake, permissions and clocks, and say what to do",
        "ibkr-actor doctor",
        "ibkr-actor doctor --json | jq 'select(.level != \"ok\")'",
    )
    doctor.add_argument("--host", help="TWS or IB Gateway host (IBKR_HOST)")
    doctor.add_argument("--port", type=int, help="its API port (IBKR_PORT)")
    doctor.add_argument(
        "--client-id",
        type=int,
        default=None,
        metavar="N",
        help="API client id for the handshake; never that of a sidecar (default: one of its own, 9000 to 9999)",
    )
    doctor.add_argument(
        "--no-handshake", action="store_true", help="leave the gateway alone but for a look at its port"
    )
    doctor.add_argument(
        "--timeout", type=positive_float, default=5.0, metavar="S", help="for each step (default 5); all in all 4 times"
    )
    add_redis(doctor)
    add_json(doctor, "check, level (ok, warn, fail), message, and advice")


def _add_commands(commands: Commands) -> None:
    send = command(
        commands,
        "commands",
        "send any command to the sidecar and print its replies, a JSON object a line; without arguments, list them",
        "ibkr-actor commands                        # every operation with its fields",
        "ibkr-actor commands subscribe --describe   # one of them",
        "ibkr-actor commands subscribe instrument=AAPL kinds=quote,trade lease_s=60 --wait",
        "ibkr-actor commands unsubscribe            # all that this client holds",
        'ibkr-actor commands \'{"op":"resolve","instrument":"AAPL"}\'',
        "jq -c .[] commands.json | ibkr-actor commands -",
    )
    send.add_argument("op", nargs="?", metavar="OP", help="an operation, a JSON object, or - for objects on the input")
    send.add_argument("fields", nargs="*", metavar="FIELD=VALUE", help="lists with commas; objects as JSON")
    send.add_argument("--describe", action="store_true", help="print what the operation does and its fields")
    send.add_argument("--client", default="cli", help="who asks: holder, and name of the replies (default cli)")
    send.add_argument("--wait", action="store_true", help="go on to the last reply: active, done, rejected, expired")
    send.add_argument(
        "--timeout", type=positive_float, default=30.0, metavar="S", help="for each reply but the last (default 30)"
    )
    add_redis(send)
    add_json(send, "a reply, or an operation of the list (replies are JSON anyway)")


def _add_tools(commands: Commands) -> None:
    replay = command(
        commands,
        "replay",
        "play a recording through a simulated gateway and a sidecar, as streams of a gateway name of its own",
        "ibkr-actor replay recordings/                     # frames of IBKR_RECORD_DIR, at their own speed",
        "ibkr-actor replay quotes.jsonl.gz --speed 20 --instrument 700.STK.SEHK.HKD",
        "ibkr-actor replay aapl.jsonl --gateway test       # records that `tail --json` or `sub --json` printed",
    )
    replay.add_argument(
        "recording",
        metavar="FILE",
        help="a directory of raw frames; a .jsonl[.gz] of level-1 rows, as `simulate --replay` takes; "
        "or records as JSON lines or Parquet, which are written as they are, with their epoch and seq",
    )
    replay.add_argument(
        "--speed",
        type=non_negative_float,
        default=1.0,
        metavar="N",
        help="how many times real speed, 0 for at once (default 1)",
    )
    replay.add_argument("--gateway", default="replay", metavar="NAME", help="gateway name of the keys (default replay)")
    replay.add_argument("--instrument", metavar="ID", help="of level-1 rows (default 700.STK.SEHK.HKD)")
    replay.add_argument("--seconds", type=positive_float, metavar="N", help="end after so long (default: Ctrl-C)")
    add_config(replay)
    replay.add_argument("--redis-url", metavar="URL", help="Redis to publish to (default: one of its own)")
    add_json(replay, "what was played, at the end")
    schema = command(
        commands,
        "schema",
        "the contract for other languages: AsyncAPI 3 or JSON Schema, generated from the code",
        "ibkr-actor schema --format json-schema | jq '.\"$defs\" | keys'",
        "ibkr-actor schema --out docs/schema",
    )
    schema.add_argument(
        "--format", choices=("asyncapi", "json-schema"), default="asyncapi", help="what to print (default asyncapi)"
    )
    schema.add_argument("--out", metavar="DIR", help="write both there, as asyncapi.json and schema.json")
    completion = command(
        commands,
        "completion",
        "a completion script for your shell",
        "source <(ibkr-actor completion bash)",
        'ibkr-actor completion zsh > "${fpath[1]}/_ibkr-actor"',
        "ibkr-actor completion fish > ~/.config/fish/completions/ibkr-actor.fish",
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="bash, zsh or fish")
