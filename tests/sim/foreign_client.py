"""Owns the meeting of the official client, as it is shipped, with a simulator whose clock stands.

Must not know rules; the tests do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ibapi.contract import ComboLeg, Contract

from ibkr_actor.sim import SimulatorSettings, SyncSimulator, simulator
from tests.sim.peers import OfficialClient, official_client

# Tuesday 2023-11-14 12:02:30 in New York.
NOW_S = 1_699_981_350.0
_FARMS = (2104, 2106, 2158)


def contract(symbol: str, sec_type: str = "STK", exchange: str = "SMART", currency: str = "USD") -> Contract:
    made = Contract()
    made.symbol, made.secType, made.exchange, made.currency = symbol, sec_type, exchange, currency
    return made


def combination(*legs: int) -> Contract:
    """One of each con_id bought, on SMART."""
    made = contract("AAPL", "BAG")
    made.comboLegs = []
    for con_id in legs:
        leg = ComboLeg()
        leg.conId, leg.ratio, leg.action, leg.exchange = con_id, 1, "BUY", "SMART"
        made.comboLegs.append(leg)
    return made


def test_stock(number: int) -> Contract:
    """One of SIM000 to SIM999."""
    return contract(f"SIM{number:03d}")


test_stock.__test__ = False  # type: ignore[attr-defined]  # no test, whatever its name


class Meeting:
    """A client and the simulator it is connected to."""

    def __init__(self, sim: SyncSimulator, client: OfficialClient) -> None:
        self.sim = sim
        self.client = client

    def errors(self) -> list[tuple[int, int]]:
        """(req_id, code) of all that the client was told, but for the farms' good news."""
        return [(call[0], call[2]) for call in self.client.named("error") if call[2] not in _FARMS]

    def text_of(self, req_id: int) -> str:
        """The words of the last error of a request."""
        return str([call[3] for call in self.client.named("error") if call[0] == req_id][-1])

    def wait_for_errors(self, count: int) -> None:
        self.client.wait_for(lambda: len(self.errors()) >= count)

    def settle(self) -> None:
        """Return once everything said so far has been read: requests are answered in order."""
        before = len(self.client.named("currentTime"))
        self.sim.advance(1.0)
        self.client.reqCurrentTime()
        self.client.wait_for(lambda: len(self.client.named("currentTime")) > before)

    def bars(self, req_id: int, what: Contract, **changed: Any) -> None:
        """Ask for bars; what is not said is legal. `end`, `duration`, `size`, `view`, `form`, `keep`."""
        asked = {"end": "", "duration": "60 S", "size": "5 secs", "view": "TRADES", "form": 1, "keep": False} | changed
        end, duration, size, view, form, keep = asked.values()
        self.client.reqHistoricalData(req_id, what, end, duration, size, view, 0, form, keep, [])

    def bars_answered(self, req_id: int, what: Contract, **changed: Any) -> None:
        """Ask for bars and have them."""
        self.bars(req_id, what, **changed)
        self.client.wait_for(lambda: req_id in [call[0] for call in self.client.named("historicalDataEnd")])

    def another(self, welcome: str = "nextValidId") -> AbstractContextManager[OfficialClient]:
        """A second connection with the same client id."""
        return official_client(self.sim.port, welcome=welcome)


@contextmanager
def meeting(version: int = 226, *, options: str = "", **settings: Any) -> Iterator[Meeting]:
    """A connected client, a second after its startApi."""
    still: dict[str, Any] = {"clock_speed": 0.0, "start_time_s": NOW_S, "seed": 7, "enforce_message_rate": False}
    made = simulator(SimulatorSettings(server_version=version, **(still | settings)))
    with made as sim, official_client(sim.port, options=options) as client:
        sim.advance(1.0)
        yield Meeting(sim, client)
