"""The border to Redis: publishing, command reading, retention and the embedded server.

Never decides what to subscribe; everything it writes was handed to it as records and replies.
"""
