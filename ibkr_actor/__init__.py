"""ibkr_actor: one Interactive Brokers connection, published to Redis Streams.

The package root holds the version only, so that consumers import nothing they do not need. To read the code begin with
`app.py`, which puts the parts together and draws how data flows through them; `docs/ARCHITECTURE.md` is the map.
"""

__version__ = "0.1.0"
