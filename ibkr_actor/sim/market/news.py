"""Owns the simulated news: providers, headlines at set times, articles. The same seed and time give the same news.

Must not know messages, lines or sessions.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from ibkr_actor.sim.market.instruments import Instrument

# Code and name. Source: the free providers every account has, IBKR's page on news.
PROVIDERS: tuple[tuple[str, str], ...] = (
    ("BRFG", "Briefing.com General Market Columns"),
    ("BRFUPDN", "Briefing.com Analyst Actions"),
    ("DJNL", "Dow Jones Newsletters"),
)
# A provider has a headline of an instrument once in so many seconds.
EVERY_S = 1_800
_SUBJECTS = ("raises outlook", "names a new finance chief", "to open a plant", "reports orders", "faces a lawsuit")
_TONES = ("as expected", "after a strong quarter", "in a quiet market", "ahead of results")


class Headline(NamedTuple):
    """`article_id` is IB's form, the provider before a `$`."""

    time_s: int
    provider: str
    article_id: str
    text: str


def headlines(
    instrument: Instrument, provider: str, start_s: float, end_s: float, seed: int, at_most: int
) -> list[Headline]:
    """The latest `at_most` headlines in [start_s, end_s), in order of time."""
    shift = _number(f"{seed}:{instrument.con_id}:{provider}") % EVERY_S
    found: list[Headline] = []
    number = int((end_s - shift - 1) // EVERY_S)
    while len(found) < at_most and number >= 0 and (time_s := number * EVERY_S + shift) >= start_s:
        if time_s < end_s:
            found.append(_headline(instrument, provider, time_s, seed))
        number -= 1
    return found[::-1]


def next_headline(instrument: Instrument, provider: str, after_s: float, seed: int) -> Headline:
    """The first headline after a time."""
    return headlines(instrument, provider, after_s, after_s + 2 * EVERY_S, seed, 2)[0]


def article(provider: str, article_id: str) -> str | None:
    """The text of an article; None when the id is none of that provider."""
    head, dollar, tail = article_id.partition("$")
    if not dollar or head != provider or provider not in dict(PROVIDERS) or not tail:
        return None
    return f"<p>Article {article_id} of {dict(PROVIDERS)[provider]}.</p>"


def _headline(instrument: Instrument, provider: str, time_s: int, seed: int) -> Headline:
    number = _number(f"{seed}:{instrument.con_id}:{provider}:{time_s}")
    subject, tone = _SUBJECTS[number % len(_SUBJECTS)], _TONES[number // 7 % len(_TONES)]
    article_id = f"{provider}${number & 0xFFFFFFFF:08x}"
    return Headline(time_s, provider, article_id, f"{instrument.long_name} {subject} {tone}")


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
