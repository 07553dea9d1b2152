"""Jobs of the past: plans, requests, answers in order."""
