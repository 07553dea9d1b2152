"""Answers about the past, and the rules on how often they may be asked."""
