"""IB's message codes: a table, and what each row means for whom."""
