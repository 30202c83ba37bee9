"""What a sweep prints: what it would make, how far it is, and what came of every job."""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rlhf_lab.commands.jobs import Job, Words
from rlhf_lab.commands.terminal import console
from rlhf_lab.pipeline.execution import missing
from rlhf_lab.store import interrupts
from rlhf_lab.store.artifacts import MANIFEST, Node, Store, read_json, write_json
from rlhf_lab.store.integrity import Damaged, manifest_of

# a state that cannot last once the launcher has returned -> the state that it becomes, and why
ENDS = {
    "running": ("failed", "its worker process died: killed, or out of memory"),
    "waiting": ("not run", "the launcher stopped before it"),
}
STOPPED = ("stopped", "its worker was killed before it had stopped")  # what `running` means after a signal
LOOK_SECONDS = 0.5
LINE_SECONDS = 5.0  # between two lines about one job
RECENT = 20  # artifacts of a stage that its expected time is taken from


def plan(jobs: Sequence[Job], store: Store) -> None:
    """Print every distinct stage of the sweep once, with the number of jobs that share it and its expected minutes."""
    sharing: dict[str, list[Job]] = {}
    nodes: dict[str, Node] = {}
    for job in jobs:
        for node in job.leaf.walk():
            nodes[node.key] = node
            sharing.setdefault(node.key, []).append(job)
    wanted = {node.key for job in jobs for node in missing(job.leaf, store)} | _forced(jobs)
    words = Words(jobs)
    minutes = {name: _minutes(store, name) for name in {node.name for node in nodes.values()}}

    table = Table("stage", "key", "for", box=box.SIMPLE_HEAD)
    for title in ("jobs", "state", "minutes"):
        table.add_column(title, justify="right")
    for key, node in sorted(nodes.items(), key=lambda item: -len(sharing[item[0]])):
        state = "to make" if key in wanted else "made" if store.made(node) else "not needed"
        cost = _number(minutes[node.name]) if key in wanted else ""
        name = f"{node.name} {getattr(node.config, 'name', '')}".strip()
        shared_by = "all" if len(sharing[key]) == len(jobs) else words.telling(sharing[key])
        table.add_row(*map(Text, (name, key[:8], shared_by, str(len(sharing[key])), state, cost)))
    console().print(table)
    costs = [minutes[nodes[key].name] for key in wanted]
    known = sum(cost for cost in costs if cost is not None)
    unknown = sum(cost is None for cost in costs)
    rest = f", and {unknown} stages of unknown length" if unknown else ""
    work = f"{_number(known)} minutes of work{rest}"
    print(f"{len(jobs)} jobs, {len(nodes)} stages, {len(wanted)} to make: {work}")


def outcome(jobs: Sequence[Job], store: Store, error: str | None) -> None:
    """Print the state of every job, and for failed jobs the reason and the file with the rest."""
    table = Table("job", "run", "", "method", "rm", "seeds", "state", box=box.SIMPLE_HEAD)
    table.add_column("minutes", justify="right")
    failed, words = list[str](), Words(jobs)
    for job in jobs:
        folder = store.root / "runs" / job.leaf.key
        status = read_json(folder / "status.json")
        state = "made" if store.made(job.leaf) else status.get("state", "not run")
        seconds = status.get("seconds")
        seeds = f"{job.experiment.rm.seed}/{job.experiment.policy.seed}"
        label = "" if len(jobs) == 1 else words.label(job)
        minutes = _number(seconds / 60) if isinstance(seconds, (int, float)) else ""
        method, rm = job.choices["policy"], job.choices["rm"]
        cells = (str(job.index + 1), job.leaf.key[:8], label, method, rm, seeds, state, minutes)
        table.add_row(*map(Text, cells))  # a label may hold brackets, which are no markup
        if state != "made":
            trace, reason = folder / "traceback.txt", status.get("error")
            where = f" (the rest: {trace})" if trace.is_file() else ""
            why = f": {reason.splitlines()[0]}" if reason else ""
            failed.append(f"job {job.index + 1} {state}{why}{where}")
    console().print(table)
    for line in failed:
        print(line)
    if error and failed:
        print(f"the launcher stopped with {error}")


def _forced(jobs: Iterable[Job]) -> set[str]:
    """Return the keys of stages that `runtime.force` makes again, with all that was made from them."""
    stale: set[str] = set()
    for job in jobs:
        for node in job.leaf.walk():
            forced = node.name in job.experiment.runtime.force
            if forced or any(upstream.key in stale for upstream in node.inputs.values()):
                stale.add(node.key)
    return stale


def _minutes(store: Store, stage: str) -> float | None:
    """Return the median minutes that the store's recent artifacts of a stage took; None when there are none."""
    manifests = sorted((store.root / stage).glob(f"*/{MANIFEST}"), key=lambda path: -path.stat().st_mtime)
    seconds = []
    for path in manifests[:RECENT]:
        with suppress(Damaged):
            seconds.append(manifest_of(path.parent)["seconds"])
    return statistics.median(seconds) / 60 if seconds else None


def _number(minutes: float | None) -> str:
    return "?" if minutes is None else f"{minutes:.1f}"


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
        """Reset the status of jobs that are not made, and start watching."""
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
            seen = [read_json(folder / "status.json") for folder in self._folders]
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
                table.add_row(
                    f"{job.index + 1}/{len(seen)}", Text(f"{self._words.label(job)}: {_words(status)}")
                )
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
    """Correct the status of jobs whose worker died: nothing runs once the launcher has returned."""
    ends = ENDS | {"running": STOPPED} if interrupts.asked() else ENDS
    for job in jobs:
        path = store.root / "runs" / job.leaf.key / "status.json"
        status = read_json(path)
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
