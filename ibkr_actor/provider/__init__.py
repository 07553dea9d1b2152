"""Owns nothing yet but the place of the drop-in provider."""
