"""The life of the connection: its states, back-off, farms, and whether the data can be relied on."""
