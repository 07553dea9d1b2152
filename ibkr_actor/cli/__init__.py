"""The command line: reads arguments, calls the part that does the work, and turns its errors into exit statuses.

Holds no logic of the sidecar.
"""
