"""When an instrument trades, and where its bars begin and end."""
