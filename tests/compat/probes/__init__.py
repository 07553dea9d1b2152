"""Owns the programs that show what a foreign client sees; each runs alone in that client's own environment.

Must not import the project: only relative imports, and the client's library.
"""
