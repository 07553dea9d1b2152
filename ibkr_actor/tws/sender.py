"""The thread that does what may block, one job after another, in the order given.

Knows nothing of what the jobs are.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from msgspec import Struct


class SenderThread:
    """Runs `perform` for each job on a daemon thread of its own. `waiting` is for the caller to bound.

    An exception out of `perform` is a bug: it ends the thread, `failed` is called, and it goes to the excepthook.
    """

    def __init__(self, perform: Callable[[Struct], None], failed: Callable[[], None]) -> None:
        self._perform = perform
        self._tell_failed = failed
        # SimpleQueue: its put never blocks and takes no lock of ours. None ends the thread.
        self._jobs: queue.SimpleQueue[Struct | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="tws-sender", daemon=True)
        self._put = self._done = 0
        self._started = False
        self._stopped = False
        self._failed = False

    def start_once(self) -> None:
        """Starts the thread if it is not running.

        Raises:
            RuntimeError: it was stopped, or a job ended it by a bug.
        """
        if self._failed or self._stopped:
            raise RuntimeError("the gateway's sender thread " + ("failed" if self._failed else "is stopped"))
        if not self._started:
            self._started = True
            self._thread.start()

    def put(self, job: Struct) -> None:
        """Queues a job; returns at once."""
        self._put += 1
        self._jobs.put(job)

    def idle(self) -> bool:
        """Nothing waits and nothing is under way. For whoever puts the jobs."""
        return self._put == self._done

    def waiting(self) -> int:
        """Jobs not begun."""
        return self._jobs.qsize()

    def stop(self) -> None:
        """Asks for the end after the jobs that wait."""
        self._stopped = True
        self._jobs.put(None)

    def join(self, timeout_s: float) -> None:
        """Waits for the end."""
        if self._started:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                if not self._stopped:
                    self._perform(job)
                self._done += 1
        except BaseException:
            self._failed = True
            self._tell_failed()
            raise
