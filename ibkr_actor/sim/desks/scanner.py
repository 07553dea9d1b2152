"""Owns the market scanners: their parameters, and subscriptions that rank the listed instruments.

Must not know prices beyond the start price of an instrument; the ranks are made up, and change a little each time.
"""

from __future__ import annotations

import hashlib

from ibkr_actor.sim.clock import Entry
from ibkr_actor.sim.desks.desk import Desk, Handlers
from ibkr_actor.sim.desks.refusals import validation
from ibkr_actor.sim.desks.rules import Rule
from ibkr_actor.sim.market.instruments import Instrument, is_test_stock
from ibkr_actor.sim.session import Session
from ibkr_actor.sim.wire import requests as r
from ibkr_actor.sim.wire import scanner_wire as s
from ibkr_actor.sim.world import World

# A scan is said again this often; it has at most so many rows, and a client so many scans.
# Source: IBKR's page on market scanners.
_REFRESH_S = 30.0
_MOST_ROWS = 50
# How far a rank may wander from one refresh to the next, as a part of all ranks.
_WANDER = 0.1
_MOST_SCANS = 10
_HMDS = "Historical Market Data Service error message:"
# Instrument codes of the parameters -> sec_type.
_TYPES = {"STK": "STK", "ETF.EQ.US": "STK", "STOCK.EU": "STK", "IND.US": "IND"}
_SCANS = {
    "TOP_PERC_GAIN": "Top % Gainers", "TOP_PERC_LOSE": "Top % Losers", "MOST_ACTIVE": "Most Active",
    "HOT_BY_VOLUME": "Hot by Volume", "TOP_TRADE_COUNT": "Top Trade Count", "HIGH_OPT_IMP_VOLAT": "High Option Imp Vol",
}  # fmt: skip
_LOCATIONS = {"STK.US.MAJOR": "Listed/NASDAQ", "STK.US": "US Stocks", "STK.EU": "Europe", "IND.US": "US Indices"}


def _parameters() -> str:
    instruments = "".join(
        f"<Instrument><name>{code}</name><type>{code}</type><secType>{kind}</secType></Instrument>"
        for code, kind in _TYPES.items()
    )
    locations = "".join(
        f"<Location><displayName>{name}</displayName><locationCode>{code}</locationCode></Location>"
        for code, name in _LOCATIONS.items()
    )
    scans = "".join(
        f"<ScanType><displayName>{name}</displayName><scanCode>{code}</scanCode><instruments>STK</instruments></ScanType>"
        for code, name in _SCANS.items()
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ScanParameterResponse>'
        f'<InstrumentList varName="instrumentList">{instruments}</InstrumentList>'
        f'<LocationTree varName="locationTree">{locations}</LocationTree>'
        f'<ScanTypeList varName="scanTypeList">{scans}</ScanTypeList>'
        "</ScanParameterResponse>"
    )


class ScannerDesk(Desk):
    """(session number, req_id) -> the next refresh of an open scan."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._open: dict[tuple[int, int], Entry | None] = {}
        world.on_forgotten.append(self._forget_all)

    def handlers(self) -> Handlers:
        return {24: self._send_parameters, s.ReqScannerSubscription: self._subscribe, 23: self._cancel}

    def closed(self, session: Session) -> None:
        for key in [key for key in self._open if key[0] == session.number]:
            self._forget(key)

    def _send_parameters(self, session: Session, _: r.Plain) -> None:
        session.send(s.ScannerParameters(xml=_parameters()))

    def _subscribe(self, session: Session, request: s.ReqScannerSubscription) -> None:
        key = (session.number, request.req_id)
        if key in self._open:
            self._world.violate(session, Rule.DUPLICATE_ID)
            self._world.error(session, request.req_id, 385, "Duplicate ticker id for API scanner subscription")
            return
        if request.instrument not in _TYPES or request.scan_code not in _SCANS:
            self._world.error(
                session, request.req_id, 162, f"{_HMDS}Scanner type with code {request.scan_code} is disabled"
            )
            return
        if sum(1 for number, _ in self._open if number == session.number) >= _MOST_SCANS:
            text = validation(f"Only {_MOST_SCANS} simultaneous API scanner subscriptions are allowed.")
            self._world.error(session, request.req_id, 321, text)
            return
        if not self._scan(request):
            text = "Historical Market Data Service query message:no items retrieved"
            self._world.error(session, request.req_id, 165, text)

        def tell(due_s: float) -> None:
            session.send(s.ScannerData(req_id=request.req_id, instruments=self._scan(request)))
            self._open[key] = self._world.schedule.at(due_s + _REFRESH_S, tell)

        tell(self._world.clock.now_s())

    def _scan(self, request: s.ReqScannerSubscription) -> tuple[Instrument, ...]:
        """What passes the filters, in an order that depends on seed, scan code and the time in steps of a refresh."""
        step = int(self._world.clock.now_s() // _REFRESH_S)
        passing = [each for each in self._world.catalogue.all() if not is_test_stock(each) and _passes(each, request)]

        def rank(instrument: Instrument) -> float:
            name = f"{self._world.settings.seed}:{request.scan_code}:{instrument.con_id}"
            return _part(name) + _WANDER * _part(f"{name}:{step}")

        wanted = _MOST_ROWS if request.rows < 0 else min(request.rows, _MOST_ROWS)
        return tuple(sorted(passing, key=rank)[:wanted])

    def _cancel(self, session: Session, request: r.Cancel) -> None:
        key = (session.number, request.req_id)
        if key not in self._open:
            self._world.violate(session, Rule.LATE_CANCEL)
            text = f"No scanner subscription found for ticker id:{request.req_id}"
            self._world.error(session, request.req_id, 365, text)
            return
        self._forget(key)
        text = f"{_HMDS}API scanner subscription cancelled: {request.req_id}"
        self._world.error(session, request.req_id, 162, text)

    def _forget_all(self) -> None:
        for key in list(self._open):
            self._forget(key)

    def _forget(self, key: tuple[int, int]) -> None:
        refresh = self._open.pop(key)
        if refresh is not None:
            refresh.cancel()


def _part(text: str) -> float:
    """A number from 0 to 1 that depends on the text alone."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest()) / 2**48


def _passes(instrument: Instrument, request: s.ReqScannerSubscription) -> bool:
    price = instrument.start_price
    return (
        instrument.sec_type == _TYPES[request.instrument]
        and (instrument.currency == "USD") == (not request.location_code.startswith("STK.EU"))
        and (request.above_price is None or price > request.above_price)
        and (request.below_price is None or price < request.below_price)
    )
