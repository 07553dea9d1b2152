"""The seams between history and live data: backfills and healed gaps."""
