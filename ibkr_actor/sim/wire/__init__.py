"""How requests and messages look: frames, fields, text and protobuf, version by version."""
