"""Leases: the right to make one artifact, held by one process at a time.

A lease is a small file, `filelock.SoftFileLease`, whose holder renews it every RENEW_SECONDS from a thread. It needs
no more of a shared file system than exclusive creation and atomic renames. Another process takes a lease over

* at once, if its holder was a process of this machine that has ended;
* after EXPIRE_SECONDS without a renewal, if the holder runs on another machine or is stopped.

If two processes come to believe that they hold one lease, work is done twice and nothing else happens: an artifact is
published by a rename, and `Lease.confirm` drops the work of a holder that was replaced.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from filelock import SoftFileLease, Timeout

log = logging.getLogger(__name__)

RENEW_SECONDS = 5.0
EXPIRE_SECONDS = 30.0
CLOCK_SECONDS = 60.0  # that a clock may have been corrected since a process began


class Superseded(RuntimeError):
    """Another process took the lease over while its holder was stopped; it does the work, or has done it."""


class Lease:
    """The lease at `path`. Keep the object between tries: it counts how long a holder has been silent."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock = SoftFileLease(
            path, lease_duration=EXPIRE_SECONDS, heartbeat_interval=RENEW_SECONDS, thread_local=False
        )

    def take(self) -> bool:
        """Take the lease and return True, or return False if another process holds it."""
        if self._lock.is_locked:
            return False
        earlier = holder(self._path)
        if earlier is None and silence(self._path) > EXPIRE_SECONDS:  # left empty by a crash of the machine
            self._path.unlink(missing_ok=True)
        for _ in range(2):  # the first try may only remove the file of a holder that has ended
            with contextlib.suppress(Timeout):
                self._lock.acquire(blocking=False)
                break
        else:
            return False
        if earlier:
            log.warning("%s is taken over from %s, which ended or is stopped", self._path.stem, earlier)
        return True

    def confirm(self) -> None:
        """Raise Superseded if another process took the lease over."""
        owner = self._lock.owner
        if owner is None or owner.token != self._lock.token:
            raise Superseded(f"{self._path.stem}: taken over by {holder(self._path) or 'another process'}")

    def release(self) -> None:
        """Let the next process take the lease."""
        self._lock.release()


def holder(path: Path) -> str | None:
    """Return "process 12 on HOST" for the lease at `path`, or None if it is free or cannot be read."""
    owner = SoftFileLease(path).owner
    return owner and f"process {owner.pid} on {owner.hostname.partition('?')[0]}"


def gone(pid: Any, host: Any, since: Any) -> bool:
    """Return whether process `pid` of this machine, at work since the time `since`, has ended; False if unknown."""
    if host != socket.gethostname() or not isinstance(pid, int) or not isinstance(since, (int, float)):
        return False
    try:
        return psutil.Process(pid).create_time() > since + CLOCK_SECONDS  # its number went to another process
    except (psutil.Error, ValueError, OverflowError):
        return not psutil.pid_exists(pid) if 0 < pid < 2**31 else True


def silence(path: Path) -> float:
    """Return the seconds since the lease at `path` was renewed, by the clock of its file system; 0 if it is free."""
    now = time.time()
    with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=path.parent) as probe:
        now = os.fstat(probe.fileno()).st_mtime
    with contextlib.suppress(FileNotFoundError):
        return now - path.stat().st_mtime
    return 0.0


def over(path: Path) -> str | None:
    """Return in words why the lease at `path` no longer counts, or None while it does."""
    seconds = silence(path)
    return f"it gave no sign of life for {seconds:.0f} s" if seconds > EXPIRE_SECONDS else None
