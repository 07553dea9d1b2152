"""Wiring: mailboxes, the one actor loop, and the performing of effects.

Imports core, schema and anyio; never ibapi, never redis.
"""
