"""Owns the answers to questions about news, and the headlines on lines that asked for them with generic tick 292.

Must not invent news; `news` does.
"""

from __future__ import annotations

import datetime

from ibkr_actor.sim import messages as m
from ibkr_actor.sim.desks.desk import Desk, Handlers
from ibkr_actor.sim.desks.lines import Line
from ibkr_actor.sim.desks.refusals import validation
from ibkr_actor.sim.market import news
from ibkr_actor.sim.session import Session
from ibkr_actor.sim.wire import news_wire as n
from ibkr_actor.sim.wire import requests as r
from ibkr_actor.sim.world import World

# The most headlines of one request. Source: IBKR's page on historical news.
_MOST = 300
_TIME = "%Y-%m-%d %H:%M:%S.0"


class NewsDesk(Desk):
    """Serves the providers of `news`; bulletins come when a test or a script says one."""

    def __init__(self, world: World) -> None:
        self._world = world
        # All that were said, and the sessions that want those to come.
        self._bulletins: list[n.NewsBulletin] = []
        self._readers: set[Session] = set()
        world.on_forgotten.append(self._readers.clear)

    def handlers(self) -> Handlers:
        return {
            n.ReqNewsBulletins: self._subscribe,
            13: self._unsubscribe,
            n.ReqNewsArticle: self._article,
            85: self._providers,
            n.ReqHistoricalNews: self._historical,
        }

    def closed(self, session: Session) -> None:
        self._readers.discard(session)

    def say(self, text: str, bulletin_type: int = 1, exchange: str = "") -> int:
        """A bulletin to all who want them; returns how many those are."""
        bulletin = n.NewsBulletin(
            req_id=-1, message_id=len(self._bulletins) + 1, message_type=bulletin_type, text=text, exchange=exchange
        )
        self._bulletins.append(bulletin)
        for session in self._readers:
            session.send(bulletin)
        return len(self._readers)

    def _subscribe(self, session: Session, request: n.ReqNewsBulletins) -> None:
        """With all messages those of before too."""
        self._readers.add(session)
        for bulletin in self._bulletins if request.all_messages else ():
            session.send(bulletin)

    def _unsubscribe(self, session: Session, _: r.Request) -> None:
        self._readers.discard(session)

    def follow(self, line: Line, providers: tuple[str, ...]) -> None:
        """Send the headlines of the providers (none: all) on an open line as they come, until it closes."""
        codes = [code for code, _ in news.PROVIDERS if not providers or code in providers]
        for code in codes:
            self._schedule(line, code, self._world.clock.now_s())

    def _schedule(self, line: Line, provider: str, after_s: float) -> None:
        coming = news.next_headline(line.instrument, provider, after_s, self._world.settings.seed)

        def tell(_: float) -> None:
            if self._world.lines.get(line.session, line.req_id) is not line:
                return
            message = m.TickNews(
                time=coming.time_s * 1000,
                provider_code=provider,
                article_id=coming.article_id,
                headline=coming.text,
                extra_data="",
            )
            self._world.deliver(line, message)
            self._schedule(line, provider, coming.time_s + 1)

        self._world.schedule.at(coming.time_s, tell)

    def _providers(self, session: Session, _: r.Plain) -> None:
        session.send(n.NewsProviders(providers=news.PROVIDERS))

    def _article(self, session: Session, request: n.ReqNewsArticle) -> None:
        text = news.article(request.provider_code, request.article_id)
        if text is None:
            cause = "Failed to request news article:No data available"
            self._world.error(session, request.req_id, 10172, cause)
            return
        session.send(n.NewsArticle(req_id=request.req_id, article_type=0, text=text))

    def _historical(self, session: Session, request: n.ReqHistoricalNews) -> None:
        codes = [code for code in request.provider_codes.replace(",", "+").split("+") if code]
        known = [code for code in codes if code in dict(news.PROVIDERS)]
        times = _moment(request.start_date_time, 0.0), _moment(request.end_date_time, self._world.clock.now_s())
        cause = None
        if not codes or len(known) != len(codes):
            cause = "Invalid news provider"
        elif times[0] is None or times[1] is None:
            cause = "Invalid date/time"
        if cause is not None:
            self._world.error(session, request.req_id, 321, validation(cause))
            return
        try:
            instrument = self._world.catalogue.instrument(request.con_id)
        except KeyError:
            self._world.error(session, request.req_id, 321, validation("Invalid contract id"))
            return
        wanted = max(1, min(request.total_results, _MOST))
        # IB takes the start for exclusive and the end for inclusive.
        start_s, end_s = (times[0] or 0.0) + 1, (times[1] or 0.0) + 1
        seed = self._world.settings.seed
        found = [each for code in known for each in news.headlines(instrument, code, start_s, end_s, seed, wanted + 1)]
        found.sort(key=lambda each: each.time_s, reverse=True)
        for each in found[:wanted]:
            stamp = datetime.datetime.fromtimestamp(each.time_s, datetime.UTC).strftime(_TIME)
            message = n.HistoricalNews(
                req_id=request.req_id,
                time=stamp,
                provider_code=each.provider,
                article_id=each.article_id,
                headline=each.text,
            )
            session.send(message, instrument=instrument.key)
        session.send(n.HistoricalNewsEnd(req_id=request.req_id, has_more=len(found) > wanted))


def _moment(text: str, default: float) -> float | None:
    """Seconds since 1970 of `yyyy-MM-dd HH:mm:ss.0` or `yyyyMMdd HH:mm:ss` in UTC; None for neither."""
    if not text.strip():
        return default
    for form in ("%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d %H:%M:%S", "%Y%m%d %H:%M:%S", "%Y%m%d-%H:%M:%S"):
        try:
            return datetime.datetime.strptime(text.strip(), form).replace(tzinfo=datetime.UTC).timestamp()
        except ValueError:
            continue
    return None
