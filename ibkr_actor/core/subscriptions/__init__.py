"""Who holds which stream, from the command to the end."""
