"""How far a sweep is, told by its parent from the files of its jobs: a live table, or a few lines."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from rlhf_lab.commands.planned import Job, Words
from rlhf_lab.store import interrupts
from rlhf_lab.store.artifacts import Store, read_json, write_json

ENDS = {  # a state that cannot last once the launcher has returned -> what it means
    "running": ("failed", "its worker process died: killed, or out of memory"),
    "waiting": ("not run", "the launcher stopped before it"),
}
STOPPED = ("stopped", "its worker was killed before it had stopped")  # what `running` means after a signal
LOOK_SECONDS = 0.5
LINE_SECONDS = 5.0  # between two lines about one job


class Progress:
    """Watches the jobs of a sweep from a thread while a launcher runs them."""

    def __init__(self, jobs: Sequence[Job], store: Store) -> None:
        self._jobs, self._store, self._words = jobs, store, Words(jobs)
        self._folders = [store.root / "runs" / job.leaf.key for job in jobs]
        self._stop = threading.Event()
        self._live = Live(console=Console(), refresh_per_second=4) if sys.stdout.isatty() else None
        self._said: dict[int, tuple[str, float]] = {}
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Progress:
        """Forget how earlier attempts ended, and start watching."""
        for job, folder in zip(self._jobs, self._folders, strict=True):
            if self._store.made(job.leaf):
                self._said[job.index] = ("made", 0.0)
            else:
                write_json(folder / "status.json", {"key": job.leaf.key, "state": "waiting"})
        if self._live:
            self._live.start()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        if self._live:
            self._live.stop()

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            seen = [read_json(folder / "status.json") or {} for folder in self._folders]
            if self._live:
                self._live.update(self._table(seen))
            else:
                self._lines(seen)

    def _table(self, seen: Sequence[dict[str, Any]]) -> Table:
        table = Table(box=None, show_header=False, pad_edge=False)
        counts = Counter(status.get("state", "made") for status in seen)
        table.add_row("", f"{len(seen)} jobs: " + ", ".join(f"{n} {state}" for state, n in counts.items()))
        for job, status in zip(self._jobs, seen, strict=True):
            if status.get("state") == "running":
                table.add_row(f"{job.index + 1}/{len(seen)}", f"{self._words.label(job)}: {_words(status)}")
        return table

    def _lines(self, seen: Sequence[dict[str, Any]]) -> None:
        now = time.monotonic()
        for job, status in zip(self._jobs, seen, strict=True):
            words, (before, when) = _words(status), self._said.get(job.index, ("", 0.0))
            changed = words != before and (now - when > LINE_SECONDS or status.get("state") != "running")
            if changed and status.get("state") != "waiting":
                width = len(str(len(seen)))
                print(f"[{job.index + 1:>{width}}/{len(seen)}] {self._words.label(job)}: {words}", flush=True)
                self._said[job.index] = (words, now)


def settle(jobs: Sequence[Job], store: Store) -> None:
    """Mark what a dead worker left: nothing runs any more once the launcher has returned."""
    ends = ENDS | {"running": STOPPED} if interrupts.asked() else ENDS
    for job in jobs:
        path = store.root / "runs" / job.leaf.key / "status.json"
        status = read_json(path) or {}
        if not store.made(job.leaf) and status.get("state") in ends:
            state, why = ends[status["state"]]
            write_json(path, status | {"state": state, "error": why})


def _words(status: dict[str, Any]) -> str:
    if status.get("state") != "running":
        return str(status.get("state", "made"))
    stage = status.get("stage", "starting")
    if stage == "waiting":
        return "waiting for a stage that another worker makes"
    return f"{stage} {status['done']}/{status['total']} steps" if status.get("total") else stage
