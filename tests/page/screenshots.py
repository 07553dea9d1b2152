"""Makes the pictures of the status page and of `ibkr-actor top` in docs/img: `just screenshots`.

Everything in them is real: simulated gateway, sidecar, Redis, HTTP service and Chromium.
"""

from __future__ import annotations

import functools
import re
import struct
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import anyio
from rich.console import Console
from selenium.webdriver.support.wait import WebDriverWait

from ibkr_actor.cli.overview import Overview
from ibkr_actor.cli.overview_gather import Gatherer
from ibkr_actor.cli.top_view import frame
from ibkr_actor.client import connect
from tests.e2e.kit import KEYS
from tests.page.browser import Browser, browser, programs
from tests.page.site import Site, running_site

IMAGES = Path(__file__).parent.parent.parent / "docs" / "img"
WANTED = (
    ("AAPL", ("quote", "trade", "bar.5s")),
    ("MSFT", ("quote", "bidask")),
    ("SPY", ("quote",)),
    ("EUR.CASH.IDEALPRO.USD", ("quote", "midpoint")),
    ("USD.CASH.IDEALPRO.JPY", ("quote",)),
    ("ES.FUT.CME.USD.20261218.ES", ("quote",)),
)
# The charts hold two minutes; so much of them is enough to be seen.
SEEN_S = 75
AWAY_AFTER_S = 45
BYTES_MAX = 200_000
TOP_WIDTH = 118


def main() -> int:
    """Writes all pictures; 1 where there is no browser."""
    if programs() is None:
        sys.stderr.write("screenshots need chromium and chromedriver (Debian: chromium, chromium-driver)\n")
        return 1
    IMAGES.mkdir(parents=True, exist_ok=True)
    with running_site(ticks_per_s=2.0) as site, browser() as window:
        for instrument, kinds in WANTED:
            site.subscribe(instrument, *kinds)
        site.subscribe("AAPL", "quote", client="recorder")
        window.size(1280, 900)
        window.driver.get(site.url)
        _live(window, site)
        _picture(window, "page-light.png", 1280, 860, "light", 1.5)
        _picture(window, "page-dark.png", 1280, 860, "dark", 1.5)
        _picture(window, "page-phone.png", 390, 844, "light", 2.0)
        (IMAGES / "top.svg").write_text(top_svg(site.redis_url), encoding="utf-8")
        site.stop("gateway")
        since = "return document.getElementById('since').textContent"
        _until(window, lambda: re.fullmatch(r"no data for 2\ds", window.run(since)) is not None, 60)
        _picture(window, "page-outage.png", 1280, 430, "light", 1.5)
    return 0


def _live(window: Browser, site: Site) -> None:
    """A while with a short outage in it."""
    began_s = time.monotonic()
    _until(window, lambda: time.monotonic() - began_s > AWAY_AFTER_S, SEEN_S)
    site.stop("gateway")
    _until(window, lambda: window.run("return document.body.dataset.state") == "bad", 30)
    site.start_gateway()
    _until(window, lambda: "all fresh" in window.run("return document.getElementById('sentence').textContent"), 60)
    _until(window, lambda: time.monotonic() - began_s > SEEN_S, 2 * SEEN_S)


def _until(window: Browser, wanted: Callable[[], bool], seconds: float) -> None:
    WebDriverWait(window.driver, seconds, poll_frequency=0.2).until(lambda driver: wanted())


def _picture(window: Browser, name: str, width: int, height: int, scheme: str, scale: float) -> None:
    window.size(width, height, scale=scale)
    window.scheme(scheme)
    _until(window, lambda: window.run("return document.documentElement.scrollWidth") == width, 10)
    path = IMAGES / name
    window.picture(path)
    path.write_bytes(smaller(path.read_bytes()))
    size = path.stat().st_size
    sys.stdout.write(f"{path.name}: {size} bytes\n")
    assert size < BYTES_MAX, f"{name} has {size} bytes"


def top_svg(redis_url: str) -> str:
    """One frame of `ibkr-actor top`, as SVG."""
    overview = anyio.run(_looked, redis_url)
    with Path("/dev/null").open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=TOP_WIDTH, file=nowhere, force_terminal=True, color_system="truecolor")
        console.print(frame(overview, time.time_ns(), width=TOP_WIDTH))
    # Fonts of this machine only: a picture in a README asks no other host for anything.
    return re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="ibkr-actor top"), flags=re.DOTALL)


async def _looked(redis_url: str) -> Overview:
    gatherer = Gatherer(lambda: connect(redis_url), KEYS)
    await gatherer.look()
    await anyio.sleep(2.5)
    overview = await gatherer.look()
    await gatherer.aclose()
    return overview


def smaller(png: bytes) -> bytes:
    """The same 8-bit picture without alpha, each row filtered by what suits it best, packed as well as zlib can."""
    width, height, depth, colour = struct.unpack(">IIBB", png[16:26])
    assert depth == 8
    channels = {2: 3, 6: 4}[colour]
    rows = _rows(zlib.decompress(_chunks(png, b"IDAT")), width * channels, height, channels)
    flat = [bytes(b"".join(row[at : at + 3] for at in range(0, len(row), channels))) for row in rows]
    palette = sorted({row[at : at + 3] for row in flat for at in range(0, len(row), 3)})
    return _packed(flat, width, height, palette)


def _chunks(png: bytes, wanted: bytes) -> bytes:
    at, found = 8, []
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == wanted:
            found.append(png[at + 8 : at + 8 + length])
        at += length + 12
    return b"".join(found)


def _rows(raw: bytes, stride: int, height: int, channels: int) -> list[bytearray]:
    """The rows without their filters (PNG 1.2, section 6)."""
    rows: list[bytearray] = []
    before = bytearray(stride)
    for number in range(height):
        kind, row = raw[number * (stride + 1)], bytearray(raw[number * (stride + 1) + 1 : (number + 1) * (stride + 1)])
        for at in range(stride):
            left = row[at - channels] if at >= channels else 0
            corner = before[at - channels] if at >= channels else 0
            row[at] = (row[at] + _foretold(kind, left, before[at], corner)) & 255
        rows.append(row)
        before = row
    return rows


def _foretold(kind: int, left: int, above: int, corner: int) -> int:
    if kind == 4:
        guess = left + above - corner
        return min((left, above, corner), key=lambda value: abs(guess - value))
    return (0, left, above, (left + above) // 2)[kind]


def _packed(rows: list[bytes], width: int, height: int, colours: list[bytes]) -> bytes:
    """With at most 256 colours: those that are rare are drawn in the nearest of the others."""
    counts: dict[bytes, int] = dict.fromkeys(colours, 0)
    for row in rows:
        for at in range(0, len(row), 3):
            counts[row[at : at + 3]] += 1
    kept = _palette(counts)

    @functools.cache
    def nearest(colour: bytes) -> int:
        return min(range(len(kept)), key=lambda n: sum((a - b) ** 2 for a, b in zip(colour, kept[n], strict=True)))

    indexed = b"".join(b"\0" + bytes(nearest(row[at : at + 3]) for at in range(0, len(row), 3)) for row in rows)
    packer = zlib.compressobj(9, zlib.DEFLATED, 15, 9)
    data = packer.compress(indexed) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = ((b"IHDR", head), (b"PLTE", b"".join(kept)), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    )


def _palette(counts: dict[bytes, int]) -> list[bytes]:
    """256 colours: the most frequent, no two of which are hard to tell apart."""
    kept: list[bytes] = []
    for apart in (12, 6, 3, 1):
        for colour in sorted(counts, key=lambda it: -counts[it]):
            if len(kept) == 256:
                return kept
            if all(max(abs(a - b) for a, b in zip(colour, other, strict=True)) >= apart for other in kept):
                kept.append(colour)
    return kept


if __name__ == "__main__":
    sys.exit(main())
