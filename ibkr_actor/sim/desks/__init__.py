"""Who answers which family of requests, and what is refused."""
