"""Decisions: what to do about what happened, as plain objects driven by messages and a given time.

Nothing here waits, reads a clock, logs, or knows of threads, Redis or ibapi.
"""
