"""For Python programs: the client, with its feeds, jobs and questions, and the layers it is made of.

Needs redis, msgspec and anyio only; knows nothing of IB.
"""

from ibkr_actor.client.book import OrderBook
from ibkr_actor.client.client import Client, call
from ibkr_actor.client.connect import connect
from ibkr_actor.client.errors import MarketDataError, NoAnswer
from ibkr_actor.client.feed import Feed
from ibkr_actor.client.items import Checkpoint, Item, Missed, Refused
from ibkr_actor.client.jobs import HistoryBar, HistoryBidAsk, HistoryMidPoint, HistoryTrade, Job
from ibkr_actor.client.reader import Follower, Raw, Reader
from ibkr_actor.client.tally import Tally
from ibkr_actor.client.values import as_datetime, as_decimal

__all__ = [
    "Checkpoint",
    "Client",
    "Feed",
    "Follower",
    "HistoryBar",
    "HistoryBidAsk",
    "HistoryMidPoint",
    "HistoryTrade",
    "Item",
    "Job",
    "MarketDataError",
    "Missed",
    "NoAnswer",
    "OrderBook",
    "Raw",
    "Reader",
    "Refused",
    "Tally",
    "as_datetime",
    "as_decimal",
    "call",
    "connect",
]
