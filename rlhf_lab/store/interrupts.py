"""Ctrl-C and SIGTERM (what a cluster sends before it takes a machine away): stop where work can go on later.

A signal raises Interrupted in the main thread at once; while a stage has said that it looks for itself
(`patiently`), it is only noted, and the stage stops at its next checkpoint. A second one raises in any case.
A worker whose parent has died is told to stop too, and ends.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PARENT_SECONDS = 0.5  # between two looks whether the parent is still there
ECHO_SECONDS = 1.0  # one wish may arrive twice: from the terminal or the cluster, and from the parent


class Interrupted(KeyboardInterrupt):
    """The process was told to stop by signal `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        """What to tell the user."""
        return f"stopped by {signal.Signals(self.number).name}; the same command goes on from there"


class _Wish:
    """What this process was told, and what it does about it."""

    number: int | None = None  # of the first signal
    when = 0.0
    patient = False
    command = False  # whether this process is the command itself; others are workers
    at_work = False
    following = False
    first: Callable[[int], None] | None = None  # what the parent of workers does before it stops


@contextmanager
def listening() -> Iterator[None]:
    """Take the signals for as long as the command runs."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _Wish.number, _Wish.command = None, True
    for number in SIGNALS:
        signal.signal(number, _heard)
    try:
        yield
    finally:
        _Wish.number, _Wish.command = None, False
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def at_work() -> Iterator[None]:
    """Take the signals for a job, in a worker; it ends soon after its parent. In the command nothing changes."""
    if not _Wish.command and threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _heard)
        if not _Wish.following:
            threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
            _Wish.following = True
    _Wish.at_work = True
    try:
        yield
    finally:
        _Wish.at_work = False


@contextmanager
def first(action: Callable[[int], None]) -> Iterator[None]:
    """Call `action(number)` when a signal comes, before anything stops."""
    _Wish.first = action
    try:
        yield
    finally:
        _Wish.first = None


@contextmanager
def patiently() -> Iterator[None]:
    """Note signals only: whoever says this calls `stop_if_asked` wherever it can go on from later."""
    _Wish.patient = True
    try:
        yield
    finally:
        _Wish.patient = False


def asked() -> bool:
    """Whether this process has been told to stop."""
    return _Wish.number is not None


def stop_if_asked() -> None:
    """Raise Interrupted if this process has been told to stop."""
    if _Wish.number is not None:
        raise Interrupted(_Wish.number)


def _follow(parent: int) -> None:
    """Tell this worker to stop once its parent has died, and end it when its job has."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    while _Wish.at_work:
        time.sleep(PARENT_SECONDS)
    os._exit(128 + signal.SIGTERM)  # idle workers of joblib's would wait minutes for another job


def _heard(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    again = _Wish.number is not None
    if again and now - _Wish.when < ECHO_SECONDS:
        return
    if not again:
        _Wish.number, _Wish.when = number, now
        if _Wish.first is not None:
            _Wish.first(number)
    if again or not _Wish.patient:
        raise Interrupted(number)
