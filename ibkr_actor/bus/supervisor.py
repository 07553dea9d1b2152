"""The small process between the sidecar and its Redis server: it ends the server when the sidecar is gone.

Run as a script with the standard library only; knows nothing of what it runs. Its stdin is a pipe whose other end the
sidecar holds: end of file means that the sidecar closed it or died, however it died, on Linux and on macOS alike.

Usage: supervisor.py GRACE_S COMMAND [ARGUMENT ...]     Prints the child's pid; exits with the child's status.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading

_PR_SET_PDEATHSIG = 1  # Source: prctl(2)


def die_with_parent() -> None:
    """In the child before exec: the kernel ends it with this supervisor, should that be killed. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_when_orphaned(child: subprocess.Popen[bytes], grace_s: float) -> None:
    """Waits for the end of stdin, then asks the child to stop, and after `grace_s` makes it."""
    while os.read(0, 4096):
        pass
    child.terminate()
    try:
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        child.kill()


def main() -> int:
    """Runs the command until it ends or the sidecar does."""
    grace_s, command = float(sys.argv[1]), sys.argv[2:]
    # Spawned from the main thread, which lives as long as the process: the death signal follows the spawning thread.
    # Nothing but this has run in this process, so code between fork and exec is safe.
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=2,
        preexec_fn=die_with_parent if sys.platform == "linux" else None,
    )
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    sys.stdout.write(f"{child.pid}\n")
    sys.stdout.flush()
    threading.Thread(target=end_when_orphaned, args=(child, grace_s), daemon=True).start()
    return child.wait()


if __name__ == "__main__":
    status = main()
    # The reading thread may still wait for stdin: leave without joining it.
    os._exit(status if status >= 0 else 128 - status)
