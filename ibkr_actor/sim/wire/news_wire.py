"""Owns how requests and messages of news look, as text and as protobuf.

Must not answer anything; requests.py and responses.py merge its tables.
"""

from __future__ import annotations

from typing import Any

from ibapi.protobuf import (
    HistoricalNews_pb2,
    HistoricalNewsEnd_pb2,
    HistoricalNewsRequest_pb2,
    NewsArticle_pb2,
    NewsArticleRequest_pb2,
    NewsBulletin_pb2,
    NewsBulletinsRequest_pb2,
    NewsProvider_pb2,
    NewsProviders_pb2,
)

from ibkr_actor.sim.messages import Message
from ibkr_actor.sim.wire.frames import ascii_text
from ibkr_actor.sim.wire.layout import NEWS_FROM, Layout
from ibkr_actor.sim.wire.reading import Fields
from ibkr_actor.sim.wire.request_base import Plain, Reader, Request, parse


class ReqNewsBulletins(Request, frozen=True, kw_only=True):
    all_messages: bool


class ReqNewsArticle(Request, frozen=True, kw_only=True):
    provider_code: str
    article_id: str


class ReqHistoricalNews(Request, frozen=True, kw_only=True):
    """`provider_codes` are joined by `+`; times are `yyyy-MM-dd HH:mm:ss.0` or empty."""

    con_id: int
    provider_codes: str
    start_date_time: str
    end_date_time: str
    total_results: int


class NewsBulletin(Message, frozen=True, kw_only=True):
    """`message_type` 1 regular, 2 an exchange is no longer available, 3 it is again. It belongs to no request."""

    message_id: int
    message_type: int
    text: str
    exchange: str


class NewsProviders(Message, frozen=True, kw_only=True):
    """Pairs of code and name."""

    providers: tuple[tuple[str, str], ...]


class NewsArticle(Message, frozen=True, kw_only=True):
    """`article_type` 0 is plain text or HTML, 1 binary."""

    article_type: int
    text: str


class HistoricalNews(Message, frozen=True, kw_only=True):
    """`time` is `yyyy-MM-dd HH:mm:ss.0`."""

    time: str
    provider_code: str
    article_id: str
    headline: str


class HistoricalNewsEnd(Message, frozen=True, kw_only=True):
    has_more: bool


def _bulletins(fields: Fields, _: int) -> Request:
    fields.text()
    return ReqNewsBulletins(message_id=12, all_messages=fields.flag())


def _bulletins_protobuf(body: bytes) -> Request:
    proto: Any = parse(NewsBulletinsRequest_pb2.NewsBulletinsRequest, body)
    return ReqNewsBulletins(message_id=12, all_messages=proto.allMessages)


def _article(fields: Fields, _: int) -> Request:
    return ReqNewsArticle(message_id=84, req_id=fields.own_id(), provider_code=fields.text(), article_id=fields.text())


def _article_protobuf(body: bytes) -> Request:
    proto: Any = parse(NewsArticleRequest_pb2.NewsArticleRequest, body)
    return ReqNewsArticle(
        message_id=84, req_id=proto.reqId, provider_code=proto.providerCode, article_id=proto.articleId
    )


def _historical(fields: Fields, _: int) -> Request:
    return ReqHistoricalNews(
        message_id=86,
        req_id=fields.own_id(),
        con_id=fields.integer(),
        provider_codes=fields.text(),
        start_date_time=fields.text(),
        end_date_time=fields.text(),
        total_results=fields.integer(),
    )


def _historical_protobuf(body: bytes) -> Request:
    proto: Any = parse(HistoricalNewsRequest_pb2.HistoricalNewsRequest, body)
    return ReqHistoricalNews(
        message_id=86,
        req_id=proto.reqId,
        con_id=proto.conId,
        provider_codes=proto.providerCodes,
        start_date_time=proto.startDateTime,
        end_date_time=proto.endDateTime,
        total_results=proto.totalResults,
    )


READERS: dict[int, Reader] = {
    12: (_bulletins, _bulletins_protobuf),
    84: (_article, _article_protobuf),
    85: (lambda fields, _: Plain(message_id=85), lambda body: Plain(message_id=85)),
    86: (_historical, _historical_protobuf),
}


def _bulletin_fields(bulletin: NewsBulletin, version: int) -> list[str]:
    text = ascii_text(bulletin.text, version)
    return ["1", str(bulletin.message_id), str(bulletin.message_type), text, bulletin.exchange]


def _bulletin_proto(bulletin: NewsBulletin, _: int) -> Any:
    return NewsBulletin_pb2.NewsBulletin(
        newsMsgId=bulletin.message_id,
        newsMsgType=bulletin.message_type,
        newsMessage=bulletin.text,
        originatingExch=bulletin.exchange,
    )


def _providers_fields(message: NewsProviders, _: int) -> list[str]:
    return [str(len(message.providers)), *(part for provider in message.providers for part in provider)]


def _providers_proto(message: NewsProviders, _: int) -> Any:
    providers = [
        NewsProvider_pb2.NewsProvider(providerCode=code, providerName=name) for code, name in message.providers
    ]
    return NewsProviders_pb2.NewsProviders(newsProviders=providers)


def _article_fields(article: NewsArticle, _: int) -> list[str]:
    return [str(article.req_id), str(article.article_type), article.text]


def _article_proto(article: NewsArticle, _: int) -> Any:
    return NewsArticle_pb2.NewsArticle(reqId=article.req_id, articleType=article.article_type, articleText=article.text)


def _news_fields(news: HistoricalNews, _: int) -> list[str]:
    return [str(news.req_id), news.time, news.provider_code, news.article_id, news.headline]


def _news_proto(news: HistoricalNews, _: int) -> Any:
    return HistoricalNews_pb2.HistoricalNews(
        reqId=news.req_id,
        time=news.time,
        providerCode=news.provider_code,
        articleId=news.article_id,
        headline=news.headline,
    )


def _end_fields(end: HistoricalNewsEnd, _: int) -> list[str]:
    return [str(end.req_id), "1" if end.has_more else "0"]


def _end_proto(end: HistoricalNewsEnd, _: int) -> Any:
    return HistoricalNewsEnd_pb2.HistoricalNewsEnd(reqId=end.req_id, hasMore=end.has_more)


LAYOUTS: dict[type[Message], Layout] = {
    NewsBulletin: Layout(14, NEWS_FROM, _bulletin_fields, _bulletin_proto),
    NewsArticle: Layout(83, NEWS_FROM, _article_fields, _article_proto),
    NewsProviders: Layout(85, NEWS_FROM, _providers_fields, _providers_proto),
    HistoricalNews: Layout(86, NEWS_FROM, _news_fields, _news_proto),
    HistoricalNewsEnd: Layout(87, NEWS_FROM, _end_fields, _end_proto),
}
