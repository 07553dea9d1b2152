"""One-off questions to IB and their answers."""
