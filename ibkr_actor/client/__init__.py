"""For consumers and commanders: follow a stream, send a command and get its reply.

Needs redis, msgspec and anyio only; knows nothing of IB.
"""

from ibkr_actor.client.book import OrderBook
from ibkr_actor.client.commands import NoAnswer, call
from ibkr_actor.client.connect import connect
from ibkr_actor.client.follow import Entry, follow
from ibkr_actor.client.history import JobRefused, history

__all__ = ["Entry", "JobRefused", "NoAnswer", "OrderBook", "call", "connect", "follow", "history"]
