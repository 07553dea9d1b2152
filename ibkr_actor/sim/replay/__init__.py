"""Recordings played back: level-1 rows and raw frames."""
