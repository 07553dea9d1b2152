"""ibkr_actor: one Interactive Brokers connection, published to Redis Streams.

The package root holds the version only, so that consumers import nothing they do not need.
"""

__version__ = "0.1.0"
