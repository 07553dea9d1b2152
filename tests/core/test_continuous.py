"""Continuous futures: they share a con_id with the future at the front, and are kept apart from it all the same."""

from __future__ import annotations

from msgspec import structs

from ibkr_actor.core.effects import Effect, WriteContract
from ibkr_actor.core.kinds import why_not
from ibkr_actor.core.messages import ForgetContract, RestoreContracts
from ibkr_actor.schema.commands import Resolve, Snapshot
from ibkr_actor.schema.instruments import Contract, InstrumentQuery
from ibkr_actor.schema.keys import KINDS
from tests.core.desk import Desk
from tests.core.kit import answer, asked, at, only
from tests.core.test_contracts import reply_with, send, up

FRONT = Contract(1, "ES", "FUT", "CME", "USD", last_trade_date="20261218", trading_class="ES")
CONTINUOUS = structs.replace(FRONT, sec_type="CONTFUT")
ASK_FRONT = Resolve(instrument=InstrumentQuery(con_id=1, exchange="CME"))
ASK_CONTINUOUS = Resolve(instrument=InstrumentQuery(symbol="ES", sec_type="CONTFUT", exchange="CME", currency="USD"))


def name(effects: list[Effect]) -> str:
    result = answer(effects).reply.result
    assert isinstance(result, dict)
    return str(result["instrument"])


def test_one_does_not_become_the_other_in_memory_or_after_a_restart() -> None:
    core = up()
    written: dict[str, bytes] = {}
    send(core, ASK_CONTINUOUS, 1)
    first = reply_with(core, 11, [CONTINUOUS], 1)
    send(core, ASK_FRONT, 2)
    second = reply_with(core, 21, [FRONT], 2)
    for write in only(WriteContract, first + second):
        if write.value is not None:
            written[write.field] = write.value
    restored = up()
    restored.handle(RestoreContracts(written), at(3))
    for held in (core, restored):
        assert name(send(held, ASK_CONTINUOUS, 4)) == "ES.CONTFUT.CME.USD"
        assert name(send(held, ASK_FRONT, 4)) == "ES.FUT.CME.USD.20261218.ES"


def test_its_name_stays_when_another_future_comes_to_the_front() -> None:
    core = up()
    send(core, ASK_CONTINUOUS, 1)
    reply_with(core, 11, [CONTINUOUS], 1)
    send(core, structs.replace(ASK_CONTINUOUS, refresh=True), 2)
    rolled = structs.replace(CONTINUOUS, con_id=2, last_trade_date="20270319")
    assert name(reply_with(core, 21, [rolled], 2)) == "ES.CONTFUT.CME.USD"
    core.handle(ForgetContract(2, "CME"), at(3))
    assert asked(send(core, ASK_CONTINUOUS, 4)) != []


def test_it_has_what_a_future_has_but_for_a_snapshot() -> None:
    refused = [kind for kind in KINDS if why_not(kind, "CONTFUT", "CME")]
    assert refused == [kind for kind in KINDS if why_not(kind, "FUT", "CME")] == ["greeks", "depth.smart"]
    contract = structs.replace(CONTINUOUS, instrument="ES.CONTFUT.CME.USD")
    desk = Desk()
    error = answer(desk.send(Snapshot(instrument="ES.CONTFUT.CME.USD"), 1, contract=contract)).reply.error
    assert error is not None
    assert error.code == "unsupported"
