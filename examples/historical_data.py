"""Historical bars with the drop-in provider: python examples/historical_data.py [SYMBOL] [RESOLUTION] [DAYS].

Pacing is the sidecar's: however much is asked for, IB's limits are kept, and what has to wait waits. With
IBKR_REDIS_URL it reads from the sidecar that publishes there, else it starts one in this process.
"""

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta

from market_data_core import Instrument, MarketDataError, PacingViolation

from ibkr_actor.provider import IBKRProvider, IBKRSettings


async def main(symbol: str = "AAPL", resolution: str = "1d", days: str = "30") -> None:
    settings = IBKRSettings(
        host=os.environ.get("IBKR_HOST", "127.0.0.1"),
        port=int(os.environ.get("IBKR_PORT", "4002")),
        client_id=int(os.environ.get("IBKR_CLIENT_ID", "17")),
    )
    end = datetime.now(UTC)
    start = end - timedelta(days=float(days))
    count = 0
    async with IBKRProvider(settings) as provider:
        async for bar in provider.request_historical_bars(Instrument(symbol=symbol), start, end, resolution):
            print(f"{bar.ts:%Y-%m-%d %H:%M} {bar.open} {bar.high} {bar.low} {bar.close} {bar.volume}")
            count += 1
    print(f"{count} bars of {resolution}")


try:
    asyncio.run(main(*sys.argv[1:]))
except KeyboardInterrupt:
    pass
except PacingViolation as error:
    sys.exit(f"IB wants a rest of {error.retry_after_sec} s: {error}")
except MarketDataError as error:
    sys.exit(f"{type(error).__name__}: {error}")
