"""From what a caller calls an instrument to the one contract IB means."""
