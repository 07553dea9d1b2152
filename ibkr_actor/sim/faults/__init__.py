"""Bad days by script: actions on lines, connections, bytes and the gateway itself."""
