"""Ctrl-C, SIGTERM, which a cluster sends before it takes a machine away, and SIGHUP of a terminal that is closed.

Each stops where work can go on later. SIGHUP is left alone where it is ignored already, as under nohup.

A signal raises Interrupted in the main thread at once. Inside `patiently` the signal is only noted, and the stage stops
at its next checkpoint; a second signal raises in any case. A worker process whose parent has ended stops too.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PARENT_SECONDS = 0.5  # between two checks whether the parent process is still there
ECHO_SECONDS = 1.0  # one request may arrive twice: from the terminal or the cluster, and from the parent


class Interrupted(KeyboardInterrupt):
    """The process was told to stop by signal `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        """Return the message to the user."""
        return f"stopped by {signal.Signals(self.number).name}; the same command goes on from there"


class _Request:
    """The signals that this process received, and how it reacts to them."""

    number: int | None = None  # the first signal
    when = 0.0  # seconds, monotonic
    patient = False  # whether a stage is inside `patiently`
    command = False  # whether this process is the command itself; others are workers
    at_work = False  # whether a job runs
    following = False  # whether a thread watches the parent process
    first: Callable[[int], None] | None = None  # called before anything stops


@contextmanager
def listening() -> Iterator[None]:
    """Handle signals as the command itself, in a `with` block."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _Request.number, _Request.command = None, True
    _hear()
    try:
        yield
    finally:
        _Request.number, _Request.command = None, False
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def at_work() -> Iterator[None]:
    """Handle signals during a job, in a `with` block. A worker process ends soon after its parent."""
    if not _Request.command and threading.current_thread() is threading.main_thread():
        _hear()
        if not _Request.following:
            threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
            _Request.following = True
    _Request.at_work = True
    try:
        yield
    finally:
        _Request.at_work = False


@contextmanager
def first(action: Callable[[int], None]) -> Iterator[None]:
    """Call `action(number)` when a signal arrives, before anything stops, in a `with` block."""
    _Request.first = action
    try:
        yield
    finally:
        _Request.first = None


@contextmanager
def patiently() -> Iterator[None]:
    """Only note signals in a `with` block, whose body calls `stop_if_asked` at every point where it can go on later."""
    _Request.patient = True
    try:
        yield
    finally:
        _Request.patient = False


def asked() -> bool:
    """Return whether this process has been told to stop."""
    return _Request.number is not None


def stop_if_asked() -> None:
    """Raise Interrupted if this process has been told to stop."""
    if _Request.number is not None:
        raise Interrupted(_Request.number)


def _follow(parent: int) -> None:
    """Tell this worker to stop once its parent has ended, and end it once its job has stopped."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    while _Request.at_work:
        time.sleep(PARENT_SECONDS)
    os._exit(128 + signal.SIGTERM)  # an idle worker of joblib would wait minutes for another job


def _hear() -> None:
    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _heard)


def _heard(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    again = _Request.number is not None
    if again and now - _Request.when < ECHO_SECONDS:
        return
    if not again:
        _Request.number, _Request.when = number, now
        if _Request.first is not None:
            _Request.first(number)
    if again or not _Request.patient:
        raise Interrupted(number)
