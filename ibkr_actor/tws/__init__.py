"""The border to TWS / IB Gateway: threads, sockets and the official ibapi stand here and nowhere else.

Turns frames into events and requests into frames; never decides what to ask or when to reconnect.
"""
