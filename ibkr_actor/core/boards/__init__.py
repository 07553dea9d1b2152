"""Streams that are of no instrument: scans and bulletins."""
