"""Who is making what, told by small files: a lease that its holder renews and that the living take from the dead.

Of the file system, which several machines may share, no more is relied on than this: creating a file that
must not exist succeeds for one only (O_EXCL), a rename is atomic, and a new time of change is seen by others
within EXPIRE_SECONDS less RENEW_SECONDS. No flock. A holder on this machine is dead when its process is, and
alive while that runs, though the machine may have slept; one elsewhere, or one that is stopped, when it has
not renewed its lease for EXPIRE_SECONDS by the file system's own clock. Should two believe that they hold one
lease, work is done twice and nothing else happens: what is made is published by rename.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

log = logging.getLogger(__name__)

RENEW_SECONDS = 5.0
EXPIRE_SECONDS = 30.0
PROCESSES = Path("/proc")
GONE, STOPPED, UNKNOWN = "ZX", "T", "?"  # states of a process; a zombie waits only to be reaped


class Superseded(RuntimeError):
    """The lease was taken over while its holder was stopped: another is at the work, or has done it."""


@dataclass(frozen=True)
class Holder:
    """A process that makes something."""

    machine: str
    host: str  # for people
    pid: int
    born: str  # when the process began
    token: str  # one a lease

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class Lease:
    """The right to make one thing, renewed from a thread until it is released."""

    def __init__(self, path: Path, holder: Holder) -> None:
        self._path, self._holder = path, holder
        self._released = threading.Event()
        threading.Thread(target=self._renew, name=f"lease {path.name}", daemon=True).start()

    def held(self) -> bool:
        """Whether the lease is still this one: nobody took it over."""
        return holder(self._path) == self._holder

    def confirm(self) -> None:
        """Raise Superseded if another took over."""
        if not self.held():
            raise Superseded(f"{self._path.stem}: taken over by {holder(self._path) or 'another worker'}")

    def release(self) -> None:
        """Let the next one have it."""
        self._released.set()
        if self.held():
            self._path.unlink(missing_ok=True)

    def _renew(self) -> None:
        while not self._released.wait(RENEW_SECONDS):
            with contextlib.suppress(OSError):  # a moment without the file system is no reason to give up
                if not self.held():
                    return
                os.utime(self._path)


def take(path: Path) -> Lease | None:
    """The lease at `path`; None while another has it. That of a holder who is gone is taken over."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _, born = _process(os.getpid())
    me = Holder(_machine(), socket.gethostname(), os.getpid(), born, uuid.uuid4().hex)
    if _create(path, me) or (_put_aside(path) and _create(path, me)):
        return Lease(path, me)
    return None


def holder(path: Path) -> Holder | None:
    """Who has the lease at `path`; None when nobody has, or when it says nothing that can be read."""
    try:
        found = Holder(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return found if isinstance(found.pid, int) and 0 < found.pid < 2**31 else None


def over(path: Path) -> str | None:
    """Why the lease at `path` no longer counts, in words; None while it does, or when there is none."""
    found = holder(path)
    if found and found.machine == _machine():
        state, born = _process(found.pid)
        if state in GONE or (state != UNKNOWN and born != found.born):  # process ids come round again
            return "its process is gone"
        if state not in (STOPPED, UNKNOWN):
            return None
    try:
        silent = _now(path.parent) - path.stat().st_mtime
    except FileNotFoundError:
        return None
    return f"it gave no sign of life for {silent:.0f} s" if silent > EXPIRE_SECONDS else None


def _create(path: Path, me: Holder) -> bool:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    try:
        with os.fdopen(descriptor, "w") as stream:
            json.dump(asdict(me), stream)
    except OSError:  # the disk is full
        path.unlink(missing_ok=True)
        raise
    return True


def _put_aside(path: Path) -> bool:
    """Whether the lease at `path` was of a holder who is gone, and is gone now too."""
    seen, why = holder(path), over(path)
    if why is None:
        return False
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return False
    if holder(aside) != seen:  # somebody took over in between, and this is the new lease: give it back
        os.rename(aside, path)
        return False
    aside.unlink(missing_ok=True)
    log.warning("%s is taken over from %s: %s", path.stem, seen or "an unknown process", why)
    return True


def _now(folder: Path) -> float:
    """The time by the clock of the file system, whose stamps are compared; ours where it is read-only."""
    probe = folder / f".now.{uuid.uuid4().hex[:8]}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


# --- processes of this machine ------------------------------------------------------------------------------


@functools.cache
def _machine() -> str:
    """What tells apart where process ids mean the same: host, boot, and the container's own numbering."""
    boot, numbering = PROCESSES / "sys/kernel/random/boot_id", PROCESSES / "self/ns/pid"
    known = [socket.gethostname()]
    with contextlib.suppress(OSError):
        known += [boot.read_text().strip(), os.readlink(numbering)]
    return " ".join(known)


def _process(pid: int) -> tuple[str, str]:
    """The state of a process (a letter, as in `ps`) and when it began; UNKNOWN where that is not told."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "X", ""
    except PermissionError:  # of another user, and alive
        pass
    try:
        state, *rest = (PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return UNKNOWN, ""
    return state, rest[18]
