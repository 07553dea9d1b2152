"""Chains of options as one stream each, on spare lines that take turns."""
