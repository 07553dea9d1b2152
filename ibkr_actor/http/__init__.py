"""The HTTP service: what the replaced system served on 8084, health, metrics, live streams and the status page.

Reads Redis and writes commands there, as any consumer does; never talks to IB.
"""
