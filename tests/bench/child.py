"""What the processes of a benchmark share: lines of JSON out, words in, and an end when the parent is gone.

Measures nothing.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import sys
import threading
from typing import Any

_words: queue.SimpleQueue[str] = queue.SimpleQueue()


def listen() -> None:
    """Takes words from standard input. Its end means that the parent is gone, and ends this process at once."""
    threading.Thread(target=_read_words, daemon=True).start()


def wait_for(word: str) -> None:
    """Blocks until the parent says `word`."""
    while _words.get() != word:
        pass


def told() -> bool:
    """Whether the parent has said something that nobody has waited for yet."""
    return not _words.empty()


def say(event: str, **fields: Any) -> None:
    """One line for the parent."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def cpu_s() -> float:
    """User and system seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _read_words() -> None:
    for line in sys.stdin:
        _words.put(line.strip())
    os._exit(0)
