"""Real-time quotes with the drop-in provider: python examples/basic_streaming.py [SYMBOL ...].

With IBKR_REDIS_URL it reads from the sidecar that publishes there, else it starts one in this process for the gateway
at IBKR_HOST and IBKR_PORT. Ctrl-C gives the lines back and ends it.
"""

import asyncio
import os
import sys

from market_data_core import Instrument, MarketDataError

from ibkr_actor.provider import IBKRProvider, IBKRSettings


async def main(*symbols: str) -> None:
    settings = IBKRSettings(
        host=os.environ.get("IBKR_HOST", "127.0.0.1"),
        port=int(os.environ.get("IBKR_PORT", "4002")),
        client_id=int(os.environ.get("IBKR_CLIENT_ID", "17")),
    )
    instruments = [Instrument(symbol=symbol) for symbol in symbols or ("AAPL", "MSFT")]
    async with IBKRProvider(settings) as provider:
        async for quote in provider.stream_quotes(instruments):
            feed = " (delayed)" if quote.delayed else ""
            print(f"{quote.timestamp:%H:%M:%S.%f} {quote.symbol}: {quote.bid} / {quote.ask}, last {quote.last}{feed}")


try:
    asyncio.run(main(*sys.argv[1:]))
except KeyboardInterrupt:
    pass
except MarketDataError as error:
    sys.exit(f"{type(error).__name__}: {error}")
