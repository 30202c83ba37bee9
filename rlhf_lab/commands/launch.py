"""Running jobs through a launcher, also when workers die; the parent stops its workers when it is told to stop.

When one worker of joblib's pool dies, the pool kills the others and gives up its queue. Jobs that had not begun are
launched again. Jobs that were running are each run once more, alone, so that one which kills its worker takes no other
with it. Every launch ends some jobs or is the last one, so that the loop ends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from rlhf_lab.commands.display import settle
from rlhf_lab.commands.errors import in_one_line, obstacle
from rlhf_lab.commands.jobs import Job
from rlhf_lab.store import interrupts
from rlhf_lab.store.artifacts import Store, read_json

GRACE_SECONDS = 20.0  # for workers to write a checkpoint; clusters give about 30 s in all
POLL_SECONDS = 0.05

Launch = Callable[[Sequence[Job]], None]  # through Hydra; raises when the launcher itself gave up


def launch(jobs: Sequence[Job], store: Store, through: Launch) -> str | None:
    """Run the jobs, and return why the launcher gave up on some of them, if it did; Interrupted when told to stop."""
    with interrupts.first(lambda number: _stop(jobs, store, number)):
        error, left, struck = None, list(jobs), []
        while left:
            error = _try(left, through) or error
            struck += [job for job in left if _state(job, store) in ("running", "stopped")]
            waiting = [job for job in left if _state(job, store) == "waiting"]
            if len(waiting) == len(left):
                break
            left = waiting
        for job in struck:
            error = _try([job], through) or error
            settle([job], store)
    return error


def _try(jobs: Sequence[Job], through: Launch) -> str | None:
    try:
        through(jobs)
    except (Exception, interrupts.Interrupted) as error:
        interrupts.stop_if_asked()  # else it was a worker that was told to stop, and not this process
        return obstacle(error) or in_one_line(error)
    return None


def _state(job: Job, store: Store) -> str:
    return "made" if store.made(job.leaf) else str(_status(job, store).get("state"))


def _status(job: Job, store: Store) -> dict:
    return read_json(store.root / "runs" / job.leaf.key / "status.json")


def _stop(jobs: Sequence[Job], store: Store, number: int) -> None:
    """Tell the workers that this process started to stop, and wait until they have, GRACE_SECONDS at most."""
    told: set[int] = set()
    end = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < end:
        under_way = [status for job in jobs if (status := _status(job, store)).get("state") == "running"]
        workers = {status["pid"] for status in under_way if _is_living_child(status["pid"])}
        if not workers:
            return
        for pid in workers - told:
            os.kill(pid, number)
        told |= workers
        time.sleep(POLL_SECONDS)


def _is_living_child(pid: int) -> bool:
    """Return whether `pid` is a living worker of this process; another command may be at the same job."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
