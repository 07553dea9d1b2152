"""The status page in a headless Chromium, against a real HTTP service, sidecar, Redis and simulated gateway.

One browser and one story: from the first quote over an outage of each part to a server that is gone.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium.webdriver.support.wait import WebDriverWait

from tests.page.browser import Browser, browser, programs
from tests.page.site import Site, running_site

DEADLINE_S = 60.0
PAGE = files("ibkr_actor.http").joinpath("page")
AAPL = "AAPL.STK.SMART.USD"

# The shifts of what a visitor sees, as Chromium counts them; kept from the first frame on.
SHIFTS = """
return new Promise((done) => {
  new PerformanceObserver((list, it) => {
    it.disconnect();
    done(list.getEntries().reduce((sum, each) => sum + each.value, 0));
  }).observe({ type: "layout-shift", buffered: true });
  setTimeout(() => done(0), 300);
});
"""
# The worst contrast of any text on the page with what is behind it, and where.
CONTRAST = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const colour = parse(getComputedStyle(node).backgroundColor);
    if (colour.length === 3 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
let worst = [99, ""];
for (const node of document.querySelectorAll("body *")) {
  const own = [...node.childNodes].some((each) => each.nodeType === 3 && each.textContent.trim());
  if (!own || !node.checkVisibility() || node.closest("noscript, svg, .hidden, .skip")) continue;
  const [a, b] = [light(parse(getComputedStyle(node).color)), light(behind(node))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < worst[0]) worst = [ratio, `${node.tagName}.${node.className} ${node.textContent.slice(0, 40)}`];
}
return worst;
"""


class Story:
    """The page as its visitor sees it."""

    def __init__(self, window: Browser) -> None:
        self.window = window

    def text(self, selector: str) -> str:
        """The text of the first element."""
        return str(self.window.run("return document.querySelector(arguments[0])?.textContent ?? ''", selector))

    def texts(self, selector: str) -> list[str]:
        """The texts of all."""
        return list(
            self.window.run("return [...document.querySelectorAll(arguments[0])].map((it) => it.textContent)", selector)
        )

    def until(self, wanted: Callable[[], Any]) -> Any:
        """The first value that is true."""
        wait = WebDriverWait(self.window.driver, DEADLINE_S, poll_frequency=0.1, ignored_exceptions=[IndexError])
        return wait.until(lambda driver: wanted())

    def until_state(self, *wanted: str) -> None:
        """Once the page says of the whole that it is `ok`, `waiting`, `bad`: one of these."""
        self.until(lambda: self.window.run("return document.body.dataset.state") in wanted)

    def age_s(self, selector: str) -> float:
        """An age below a minute, in seconds."""
        text = self.text(selector)
        return float(text.removesuffix("s")) if re.fullmatch(r"[\d.]+s", text) else -1.0

    def errors(self) -> list[str]:
        """What the console complained of since the last time."""
        return self.window.complaints()


@pytest.fixture
def site() -> Iterator[Site]:
    with running_site() as it:
        yield it


@pytest.mark.skipif(programs() is None, reason="needs chromium and chromedriver (Debian: chromium, chromium-driver)")
def test_the_page_tells_what_is_from_the_first_quote_to_a_server_that_is_gone(site: Site) -> None:
    with browser() as window:
        story = Story(window)
        window.size(1280, 900)
        window.driver.get(site.url)
        without_subscriptions_it_says_so_and_new_ones_appear_by_themselves(story, site)
        window.driver.refresh()
        it_shows_the_connection_and_every_stream(story)
        quotes_move_and_charts_grow(story)
        numbers_and_names_are_written_for_people(story)
        it_needs_nobody_else_and_nothing_complains(story, site)
        it_fits_a_phone_and_can_be_read_in_light_and_dark(story)
        streams_are_filtered_and_sorted_by_keyboard(story)
        an_outage_of_the_gateway_is_seen_and_its_gap_is_kept(story, site)
        without_a_sidecar_nothing_looks_fresh(story, site)
        without_redis_the_page_says_so(story, site)
        without_a_server_ages_grow_and_all_is_unknown(story, site)


def without_subscriptions_it_says_so_and_new_ones_appear_by_themselves(story: Story, site: Site) -> None:
    story.until(lambda: story.text("#sentence") == "Connected. Nothing is subscribed.")
    shown = "return [...document.querySelectorAll('.empty')].filter((it) => it.checkVisibility()).map((it) => it.id)"
    story.until(lambda: story.window.run(shown) == ["quotes-empty", "streams-empty"])
    for instrument in ("AAPL", "MSFT", "EUR.CASH.IDEALPRO.USD"):
        site.subscribe(instrument, "quote")
    site.subscribe("AAPL", "quote", client="recorder")
    story.until(lambda: len(story.texts(".card")) == 3 and story.window.run(shown) == [])


def it_shows_the_connection_and_every_stream(story: Story) -> None:
    story.until(lambda: story.text("#sentence") == "3 streams, all fresh.")
    # Subscriptions are told one by one, and the page asks twice a second at most.
    story.until(lambda: "strat-1, recorder" in story.texts("#streams tr")[0])
    story.until(lambda: story.text("#word") == "ready")
    story.until(lambda: story.window.driver.title == "ready \u00b7 ibkr_actor")
    story.until_state("ok")
    rows = story.texts("#streams tr")
    assert len(rows) == 3
    assert rows[0].startswith("AAPLSTK SMART USDquotefresh")
    assert rows[1].startswith("EUR/USDIDEALPROquotefresh")
    meters = story.window.run(
        "return [...document.querySelectorAll('[role=meter]')]"
        ".map((it) => [it.ariaLabel, it.ariaValueNow, it.ariaValueMax])"
    )
    assert ["market data lines", "3", "100"] in meters
    assert ["messages", "50"] in [[label, most] for label, _, most in meters]
    story.until(lambda: "usfarm" in story.texts("#farms li"))
    story.until(lambda: story.text("#redis").startswith("stateup"))
    story.until(lambda: "ready" in story.texts("#events td:nth-child(3)"))


def quotes_move_and_charts_grow(story: Story) -> None:
    card = f"[data-instrument='{AAPL}']"
    first = story.until(lambda: story.text(f"{card} .book") if "." in story.text(f"{card} .price") else "")
    story.until(lambda: story.text(f"{card} .book") != first)
    curve = "return document.querySelector(arguments[0]).getAttribute('d')"
    story.until(lambda: "H" in (story.window.run(curve, f"{card} .curve") or ""))
    story.until(lambda: 0 <= story.age_s(f"{card} .age") < DEADLINE_S)
    story.until(lambda: story.window.run("return document.querySelector(arguments[0]).dataset.trust", card) == "new")
    assert story.window.run(SHIFTS) < 0.02


def numbers_and_names_are_written_for_people(story: Story) -> None:
    script = """
    return import("./format.js").then((f) => [
      [400, 9990, 12000, 185000, 8040000, 442800000, null].map(f.span),
      f.msOf("1795391343371415760"), f.msOf(null),
      [0, 999, 12345, 1234567].map(f.count), [1100, 250000, 2700000, "0.5", null].map(f.size),
      [f.decimals("1.13115"), f.decimals(190), f.decimals("62.5"), f.price(190.5, 2), f.price(null, 2)],
      ["AAPL.STK.SMART.USD", "EUR.CASH.IDEALPRO.USD", "ES.FUT.CME.USD.20261218.ES", "BRK%20B.STK.SMART.USD",
       "AAPL.OPT.SMART.USD.20261218.C.62.5.AAPL", "X.STK.SMART.USD@7"].map((id) => f.title(id).name),
      f.stateOf({ state: "starved", reason: "line_limit" }, true),
      f.stateOf({ state: "live", freshness: "fresh", feed: 3 }, true),
      f.stateOf({ state: "live", freshness: "fresh", feed: 1 }, false),
    ]);
    """
    thin = "\u202f"
    assert story.window.run(script) == [
        ["0.4s", "9.9s", "12s", "3m 05s", "2h 14m", "5d 03h", "\u2013"],
        1795391343371.415,
        None,
        ["0", "999", f"12{thin}345", f"1{thin}234{thin}567"],
        [f"1{thin}100", "250k", "2.7M", "0.5", "\u2013"],
        [5, 0, 2, "190.50", "\u2013"],
        ["AAPL", "EUR/USD", "ES 202612", "BRK B", "AAPL 62.5C", "X"],
        {"word": "cut off", "tone": "bad", "why": "line limit"},
        {"word": "fresh", "tone": "good", "why": "delayed"},
        {"word": "unknown", "tone": "none", "why": ""},
    ]


def it_needs_nobody_else_and_nothing_complains(story: Story, site: Site) -> None:
    loaded = story.window.run("return performance.getEntriesByType('resource').map((it) => it.name)")
    assert len(loaded) > 8
    assert [name for name in loaded if not name.startswith(site.url)] == []
    assert story.errors() == []
    with httpx.Client(timeout=DEADLINE_S, trust_env=False) as client:
        policy = client.get(site.url).headers["content-security-policy"]
        held = client.get(f"{site.url}api/v1/subscriptions").json()["subscriptions"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    # Who looks holds nothing.
    assert {holder["client"] for row in held for holder in row["holders"]} == {
        "strat-1",
        "recorder",
    }  # looking is no holding


def it_fits_a_phone_and_can_be_read_in_light_and_dark(story: Story) -> None:
    grounds = set()
    for width in (360, 768, 1280):
        story.window.size(width, 800)
        fits = "return document.documentElement.scrollWidth === arguments[0] && innerWidth === arguments[0]"
        story.until(functools.partial(story.window.run, fits, width))
        edges = "[...document.querySelectorAll('.rows, .card, .verdict')].map((it) => it.getBoundingClientRect().right)"
        assert story.window.run(f"return Math.max(...{edges})") <= width
        for scheme in ("light", "dark"):
            story.window.scheme(scheme)
            grounds.add(story.window.run("return getComputedStyle(document.body).backgroundColor"))
            ratio, where = story.window.run(CONTRAST)
            assert ratio >= 4.5, (scheme, width, where)
    assert len(grounds) == 2


def streams_are_filtered_and_sorted_by_keyboard(story: Story) -> None:
    names = "#streams tr td:first-child"
    story.window.driver.find_element("css selector", "#filter").send_keys("eur")
    story.until(lambda: story.texts(names) == ["EUR/USDIDEALPRO"])
    story.window.driver.find_element("css selector", "#filter").send_keys("\ue003" * 3)  # backspace
    story.until(lambda: len(story.texts(names)) == 3)
    story.window.driver.find_element("css selector", "[data-sort=name]").send_keys("\ue007")  # enter
    story.until(lambda: story.texts(names)[0] == "MSFTSTK SMART USD")
    assert story.window.run("return document.querySelector('th[aria-sort]').ariaSort") == "descending"


def an_outage_of_the_gateway_is_seen_and_its_gap_is_kept(story: Story, site: Site) -> None:
    card = f"[data-instrument='{AAPL}']"
    site.stop("gateway")
    story.until(lambda: set(story.texts("#streams .state span:first-child")) == {"cut off"})
    # Within IB's nightly hour a gateway that is away is no alarm, and the sidecar has this machine's clock.
    story.until_state("bad", "waiting")
    story.until(lambda: story.text("#word") != "ready" and "gateway" in story.text("#sentence"))
    story.until(lambda: story.text("#since").startswith("no data for "))
    story.until(lambda: story.window.run("return document.querySelector(arguments[0]).dataset.trust", card) == "old")
    story.until(lambda: story.text("#losses").startswith("cut off now3 streams"))
    age_s = story.age_s(f"{card} .age")
    story.until(lambda: story.age_s(f"{card} .age") > age_s)
    site.start_gateway()
    story.until(lambda: story.text("#sentence") == "3 streams, all fresh.")
    story.until(lambda: sum("disconnect" in line for line in story.texts("#gaps li")) >= 2)
    story.until(
        lambda: (
            story.window.run(
                "return document.querySelector(arguments[0]).getAttribute('d').split('M').length", f"{card} .curve"
            )
            >= 3
        )
    )


def without_a_sidecar_nothing_looks_fresh(story: Story, site: Site) -> None:
    site.stop("sidecar")
    story.until(lambda: story.text("#word") == "no sidecar")
    story.until(lambda: set(story.texts("#streams .state")) == {"unknown"})
    story.until(lambda: set(story.texts(".card .badge")) == {"unknown"})
    assert story.window.run("return document.querySelectorAll('.state[data-tone=good]:not(#events *)').length") == 0
    ratio, where = story.window.run(CONTRAST)
    assert ratio >= 4.5, where


def without_redis_the_page_says_so(story: Story, site: Site) -> None:
    site.stop("redis")
    story.until(lambda: story.text("#word") == "no Redis")
    story.until_state("bad")
    story.until(lambda: set(story.texts("#streams .state")) == {"unknown"})


def without_a_server_ages_grow_and_all_is_unknown(story: Story, site: Site) -> None:
    site.stop("http")
    story.until(lambda: story.text("#word") == "server lost")
    story.until(lambda: "lost the server" in story.text("#sentence"))
    since = story.text("#since")
    story.until(lambda: story.text("#since") != since)
    story.until(lambda: set(story.texts("#streams .state")) == {"unknown"})
    story.until(lambda: story.text("#events-note").startswith("not followed"))
    others = [line for line in story.errors() if "Failed to load resource" not in line and "ERR_" not in line]
    assert others == []


def test_the_page_has_nothing_inline_and_names_no_other_host() -> None:
    for entry in PAGE.iterdir():
        content = entry.read_text(encoding="utf-8")
        assert not re.search(r"https?://(?!www\.w3\.org/)", content), entry.name
        assert len(content.splitlines()) <= 400, entry.name
    html = PAGE.joinpath("index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html)


def test_the_pages_files_name_each_other_rightly() -> None:
    there = {entry.name for entry in PAGE.iterdir()}
    html = PAGE.joinpath("index.html").read_text(encoding="utf-8")
    named = set(re.findall(r'(?:href|src)="([\w.]+\.(?:css|js|svg))"', html))
    for entry in PAGE.iterdir():
        named |= {Path(name).name for name in re.findall(r'from "(\./[\w.]+)"', entry.read_text(encoding="utf-8"))}
        ids = set(re.findall(r'by\("([\w-]+)"\)', entry.read_text(encoding="utf-8")))
        assert ids <= set(re.findall(r'id="([\w-]+)"', html)), entry.name
    assert named | {"index.html"} == there
