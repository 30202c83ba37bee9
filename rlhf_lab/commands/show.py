"""The tables that a sweep prints: what it would make, and what came of it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from rlhf_lab.commands.planned import Job, Words
from rlhf_lab.pipeline.execution import missing
from rlhf_lab.store.artifacts import MANIFEST, Node, Store, read_json
from rlhf_lab.store.integrity import Damaged, manifest_of

RECENT = 20  # artifacts of a stage that its expected time is taken from


def plan(jobs: Sequence[Job], store: Store) -> None:
    """Print every distinct stage of the sweep once: how many jobs share it, what making it would take."""
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
        table.add_row(name, key[:8], shared_by, str(len(sharing[key])), state, cost)
    _console().print(table)
    costs = [minutes[nodes[key].name] for key in wanted]
    known = sum(cost for cost in costs if cost is not None)
    unknown = sum(cost is None for cost in costs)
    rest = f", and {unknown} stages of unknown length" if unknown else ""
    work = f"{_number(known)} minutes of work{rest}"
    print(f"{len(jobs)} jobs, {len(nodes)} stages, {len(wanted)} to make: {work}")


def outcome(jobs: Sequence[Job], store: Store, error: str | None) -> None:
    """Print what became of every job, and for those that failed why and where to read more."""
    table = Table("job", "run", "", "method", "rm", "seeds", "state", box=box.SIMPLE_HEAD)
    table.add_column("minutes", justify="right")
    failed, words = list[str](), Words(jobs)
    for job in jobs:
        folder = store.root / "runs" / job.leaf.key
        status = read_json(folder / "status.json") or {}
        state = "made" if store.made(job.leaf) else status.get("state", "not run")
        seconds = status.get("seconds")
        seeds = f"{job.experiment.rm.seed}/{job.experiment.policy.seed}"
        own = "" if len(jobs) == 1 else words.label(job)
        took = "" if seconds is None else _number(seconds / 60)
        method, rm = job.choices["policy"], job.choices["rm"]
        table.add_row(str(job.index + 1), job.leaf.key[:8], own, method, rm, seeds, state, took)
        if state != "made":
            failed += _failure(job, folder, state, status.get("error"))
    _console().print(table)
    for line in failed:
        print(line)
    if error and failed:
        print(f"the launcher stopped with {error}")


def _failure(job: Job, folder: Path, state: str, error: str | None) -> list[str]:
    trace = folder / "traceback.txt"
    where = f" (the rest: {trace})" if trace.is_file() else ""
    last = error.splitlines()[-1] if error else ""
    return [f"job {job.index + 1} {state}{': ' if last else ''}{last}{where}"]


def _forced(jobs: Iterable[Job]) -> set[str]:
    """Keys that `runtime.force` would have made again, with all that was made from them."""
    stale: set[str] = set()
    for job in jobs:
        for node in job.leaf.walk():
            forced = node.name in job.experiment.runtime.force
            if forced or any(upstream.key in stale for upstream in node.inputs.values()):
                stale.add(node.key)
    return stale


def _minutes(store: Store, stage: str) -> float | None:
    """The median time that the store's recent artifacts of a stage took; None when there are none."""
    manifests = sorted((store.root / stage).glob(f"*/{MANIFEST}"), key=lambda path: -path.stat().st_mtime)
    seconds = []
    for path in manifests[:RECENT]:
        with suppress(Damaged):
            seconds.append(manifest_of(path.parent)["seconds"])
    return statistics.median(seconds) / 60 if seconds else None


def _number(minutes: float | None) -> str:
    return "?" if minutes is None else f"{minutes:.1f}"


def _console() -> Console:
    """The terminal, or something wide enough that a file or pipe gets whole lines."""
    console = Console()
    return console if console.is_terminal else Console(width=160)
