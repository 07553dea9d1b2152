"""The exceptions this package raises, as a tree.

Error
+-- ConfigurationError   a setting is wrong or impossible; one line names it and the fix; exit status 2
+-- UnsupportedIbapi     the installed ibapi cannot be used; a ConfigurationError
+-- Fenced               a newer sidecar publishes for this gateway; exit status 3
+-- ReadOnlyViolation    something tried to send what is not on the allow-list of market-data requests
+-- HandshakeFailed      a gateway answered, but not as TWS does, or not in time

IB codes are data (`core.codes.meaning`), never exceptions.
"""

from __future__ import annotations


class Error(Exception):
    """Everything this package raises on purpose."""


class ConfigurationError(Error):
    """A setting is wrong or impossible. The message is one line that names the setting and the fix."""


class UnsupportedIbapi(ConfigurationError):
    """The installed `ibapi` cannot be used."""


class Fenced(Error):
    """A newer sidecar publishes for this gateway; this one must stop."""


class ReadOnlyViolation(Error):
    """An outgoing message that is not a market-data request."""


class HandshakeFailed(Error):
    """The peer did not complete the handshake of the TWS API."""
