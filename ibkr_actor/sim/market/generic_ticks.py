"""Owns the generic ticks a client can ask for: their numbers and names, and which an instrument takes.

Must not know the ticks that come of them; `level_1` does.
"""

from __future__ import annotations

from ibkr_actor.sim.market.instruments import Instrument

# Number -> number and name as the gateway lists them in its error 321. 220 and 258 answer to a second number.
# Source: that text for STK, FUT and OPT in public threads (deephaven-ib#46); 787 belongs to server version 225.
_NAMES: dict[int, str] = {
    100: "100(Option Volume)", 101: "101(Option Open Interest)", 105: "105(Average Opt Volume)", 106: "106(impvolat)",
    162: "162(Index Future Premium)", 165: "165(Misc. Stats)", 221: "221/220(Creditman Mark Price)",
    225: "225(Auction)", 232: "232/221(Pl Price)", 233: "233(RTVolume)", 236: "236(inventory)",
    258: "258/47(Fundamentals)", 292: "292(Wide_news)", 293: "293(TradeCount)", 294: "294(TradeRate)",
    295: "295(VolumeRate)", 318: "318(LastRTHTrade)", 375: "375(RTTrdVolume)", 411: "411(rthistvol)",
    456: "456/59(IBDividends)", 460: "460(Bond Factor Multiplier)", 576: "576(EtfNavBidAsk(navbidask))",
    577: "577(EtfNavLast(navlast))", 578: "578(EtfNavClose(navclose))", 586: "586(IPOHLMPRC)",
    587: "587(Pl Price Delayed)", 588: "588(Futures Open Interest)", 595: "595(Short-Term Volume X Mins)",
    614: "614(EtfNavMisc(high/low))", 619: "619(Creditman Slow Mark Price)", 623: "623(EtfFrozenNavLast(fznavlast))",
    787: "787(OddLot)",
}  # fmt: skip
_SECOND_NUMBERS = {220: 221, 47: 258, 59: 456}
# Only these types take them; all others are for every type.
_ONLY: dict[int, frozenset[str]] = {
    162: frozenset({"IND"}),
    576: frozenset({"STK"}),
    578: frozenset({"STK"}),
    787: frozenset({"STK"}),
}
NEWS = 292


def legal(instrument: Instrument) -> list[int]:
    """The generic ticks the instrument takes, in order."""
    return [number for number in _NAMES if instrument.sec_type in _ONLY.get(number, (instrument.sec_type,))]


def complaint(instrument: Instrument, parts: list[str]) -> str | None:
    """The complaint about a generic tick list, or None. `mdoff` and news (`292:PROVIDER`) are always taken."""
    taken = legal(instrument)
    if all(_is_taken(part, taken) for part in parts):
        return None
    names = ",".join(_NAMES[number] for number in taken)
    return f"Incorrect generic tick list of {','.join(parts)}.  Legal ones for ({instrument.sec_type}) are: {names}"


def _is_taken(part: str, taken: list[int]) -> bool:
    if part == "mdoff" or part.partition(":")[0] == str(NEWS):
        return True
    return part.isascii() and part.isdigit() and _SECOND_NUMBERS.get(int(part), int(part)) in taken


def numbers(parts: list[str]) -> frozenset[int]:
    """The numbers asked for, a second number as its first; 292 is there whichever providers were named."""
    plain = [part.partition(":")[0] for part in parts]
    asked = [int(part) for part in plain if part.isascii() and part.isdigit()]
    return frozenset(_SECOND_NUMBERS.get(number, number) for number in asked)


def news_providers(parts: list[str]) -> tuple[str, ...]:
    """The providers after `292:`, joined by `+` or `:` or given one by one; empty for all."""
    named = [part.partition(":")[2] for part in parts if part.startswith(f"{NEWS}:")]
    return tuple(code for text in named for code in text.replace(":", "+").split("+") if code)
