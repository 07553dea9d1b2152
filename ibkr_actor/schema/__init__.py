"""The public contract: records, commands, replies, instruments, keys and their encoding.

Imports msgspec and the standard library only, so that any consumer can import it on its own.
"""
