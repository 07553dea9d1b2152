"""Owns what an IB error means for a request of history: wait, ask otherwise, a part that is not there, or the end.

Keeps no request. IB says five things with code 162 and in the language of the TWS it runs in: words that are known
settle it, and what they leave open is settled by asking once more.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from msgspec import Struct, structs

from ibkr_actor.core.codes.meaning import CodeRow, lookup
from ibkr_actor.core.events import ErrorNotice
from ibkr_actor.core.replies import ib_text, rejection_of
from ibkr_actor.core.requests import ReqHistoricalTicks, Request
from ibkr_actor.core.session.farm_watch import FARM_RETRY_S
from ibkr_actor.schema.commands import Rejection

# What is to be done:
#   ignore     the request goes on, or was over already
#   again      asked for again at once, under another id
#   later      it never left, or not for good: asked for again after a while, or on the next connection
#   slow_down  messages came too fast: pacing holds everything, then it is asked for again
#   pacing     a pacing violation: what shares its limits waits, then it is asked for again
#   farm       a farm of history is away: asked for again when it is back, or after a while
#   unclear    162 in words that are not known: asked for again once, then taken for a pacing violation
#   shorter    IB refuses the duration for this bar size: a shorter one is asked for
#   show       IB names the what_to_show it expects: asked for again with that
#   no_data    there is nothing in this part
#   fail       nothing more will come of this job
Verdict = Literal[
    "ignore", "again", "later", "slow_down", "pacing", "farm", "unclear", "shorter", "show", "no_data", "fail"
]


class Judgement(Struct, frozen=True):
    """A verdict, with the rejection that goes with the end of a job and the what_to_show that IB names."""

    verdict: Verdict
    rejection: Rejection
    what_to_show: str = ""
    reason: str = ""


HISTORICAL_ERROR: Final = 162
# When asking again makes sense: the whole window that IB counts in, and about as long as a login elsewhere lasts.
PACING_REST_S: Final = 600.0
COMPETING_REST_S: Final = 60.0
NOT_PROCESSED_REST_S: Final = 5.0
OTHER_SHOW_EXPECTED: Final = 10299
NO_PERMISSION_FOR_TICKS: Final = 10187
# Also in 420 and 10189, whose other meanings do not pass by themselves.
_OTHER_LOGIN: Final = re.compile(r"different ip address|otra direcci[oó]n ip|anderen ip-adresse", re.I)
# Words of 162, tried in this order. English as seen, and the same in the languages TWS comes in, as far as seen: a
# word missing here costs one repetition. Source: wrighter/ib-scripts#1 (Spanish); IBKR, "Historical Data Limitations".
_WORDS: Final[tuple[tuple[re.Pattern[str], Verdict, str], ...]] = (
    (re.compile(r"pacing violation|infracci[oó]n de ritmo|violaci[oó]n de(l)? ritmo|ritmo de solicitudes|pacing", re.I),
     "pacing", "pacing"),
    (re.compile(r"disconnect occurred|attempting reconnection|connection attempt failed|re-?attempted", re.I),
     "farm", "farm"),
    (re.compile(r"no market data permission|permission|not subscribed|permiso|berechtigung|autorisation|权限", re.I),
     "fail", "no_permission"),
    (re.compile(r"no data|no head time ?stamp|sin datos|no devolvi[oó] (ning[uú]n )?dato|keine daten|aucune donn[eé]e"
                r"|nessun dato|没有数据|無數據|データがありません", re.I),
     "no_data", "no_data"),
    (re.compile(r"invalid step|duration|time length|exceed|greater than|max\b", re.I), "shorter", "too_long"),
    # What we take back is over here already: IB gave up one that is still wanted.
    (re.compile(r"cancell?ed|cancelad|abgebrochen|annul", re.I), "later", "cancelled"),
    (_OTHER_LOGIN, "fail", "competing_session"),
    (re.compile(r"expired|vencid|abgelaufen|starting time must occur before", re.I), "no_data", "expired"),
)  # fmt: skip
# How 321 complains of a duration or a step. Source: the server's own error text, InterReact#16.
_STEP: Final = re.compile(r"duration|step|bar size", re.I)
_SHOW: Final = re.compile(r"\b(AGGTRADES|TRADES|MIDPOINT|BID_ASK|BID|ASK|ADJUSTED_LAST|SCHEDULE)\b")
# Messages of these codes tell nothing of the request any more.
_OVER: Final = frozenset({300, 310})
# IB knows no such query: said of a cancel that came late, and of a request that it has lost.
_UNKNOWN_QUERY: Final = 366
# Source: InterReact#16 and IBKR's own words, "Only 50 simultaneous API historical data requests allowed."
_NOT_PROCESSED: Final = 322
_SHORTER_CODES: Final = frozenset({321, 10314})
# Codes of which history's own reading says more than their row: for bars that are kept up to date too.
READ_HERE: Final = frozenset({HISTORICAL_ERROR, _UNKNOWN_QUERY, OTHER_SHOW_EXPECTED})


def judge(event: ErrorNotice, request: Request | None = None) -> Judgement:
    """What IB's answer to `request` means; without one, to bars that are kept up to date."""
    row = lookup(event.code, event.req_id)
    rejection = rejection_of(row, event)
    if event.code == HISTORICAL_ERROR:
        return _historical(event, row)
    if event.code == _UNKNOWN_QUERY:
        return Judgement("again", rejection)
    if event.code in _OVER or (not row.ends_request and row.effect != "slow_down"):
        return Judgement("ignore", rejection)
    if event.code == OTHER_SHOW_EXPECTED:
        return _other_show(event, request, rejection)
    if event.code == NO_PERMISSION_FOR_TICKS and re.search(r"no data", event.message, re.I):
        return Judgement("no_data", rejection, reason="no_data")
    if event.code == _NOT_PROCESSED:
        # An id in use, or 50 queries of all clients together: either passes.
        return Judgement("later", structs.replace(rejection, retryable=True, retry_after_s=NOT_PROCESSED_REST_S))
    if row.effect == "new_id":
        return Judgement("again", rejection)
    if row.effect == "slow_down":
        return Judgement("slow_down", rejection)
    if row.effect in ("retry", "reconnect"):
        return Judgement("later", rejection)
    if event.code in _SHORTER_CODES and _STEP.search(event.message) and not isinstance(request, ReqHistoricalTicks):
        return Judgement("shorter", rejection, reason="too_long")
    return Judgement("fail", rejection, reason=row.kind)


def _historical(event: ErrorNotice, row: CodeRow) -> Judgement:
    for words, verdict, reason in _WORDS:
        if words.search(event.message):
            return Judgement(verdict, _rejection(reason, event, row), reason=reason)
    return Judgement("unclear", _rejection("", event, row), reason="unclear")


def of_other_login(event: ErrorNotice, row: CodeRow) -> Rejection | None:
    """The rejection of a refusal that says someone else is logged in, whatever its code means otherwise."""
    return _rejection("competing_session", event, row) if _OTHER_LOGIN.search(event.message) else None


def _rejection(reason: str, event: ErrorNotice, row: CodeRow) -> Rejection:
    text = ib_text(row, event)
    match reason:
        case "pacing":
            return Rejection("pacing_violation", text, event.code, True, PACING_REST_S)
        case "farm":
            return Rejection("farm_transient", text, event.code, True, FARM_RETRY_S)
        case "no_permission":
            return Rejection("permissions_missing", text, event.code)
        case "competing_session":
            return Rejection("competing_session", text, event.code, True, COMPETING_REST_S)
        case "too_long":
            return Rejection("validation_error", text, event.code)
        case "no_data" | "expired":
            return Rejection("invalid_instrument", text, event.code)
    return Rejection("internal", text, event.code, True, row.retry_after_s)


def _other_show(event: ErrorNotice, request: Request | None, rejection: Rejection) -> Judgement:
    """The name that IB expects stands in its text, beside the one that was asked for."""
    asked = getattr(request, "what_to_show", "")
    named = [name for name in _SHOW.findall(event.message) if name != asked]
    if not named:
        return Judgement("fail", rejection, reason="bad_request")
    return Judgement("show", rejection, named[0], "other_show")
