"""A sweep with one worker and with two, imports included, and what a sweep of jobs that share stages makes twice.

python -m benchmarks.sweep [--steps 80]

One round, as a sweep takes half a minute; the load of the machine is printed beside it, and what the machine can give:
how much more training two processes do side by side than one alone. What two workers had under way comes from the times
that the store recorded, which a busy machine stretches but does not reorder.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import small
from rlhf_lab.store import records
from rlhf_lab.store.artifacts import MANIFEST
from rlhf_lab.store.integrity import manifest_of

BEGUN = re.compile(r"(\w+) ([0-9a-f]{20}): begun")
EIGHT = (
    "policy=ppo",
    "policy.evaluations=1",
    "policy.prompts=12",
    "policy.samples=8",
    "policy.seed=range(8)",
)
TWELVE = ("policy=bon", "rm=1k,3k", "policy.seed=range(6)")
ALONE = {"ppo", "sft_answers", "score", "run"}  # stages that every job has for itself


ROUNDS, ROUND_SECONDS = 5, 4.0  # of bare training


def two_over_one() -> float:
    """Steps of training that two processes do in a while over what one does alone, the median of `ROUNDS`."""
    return median(_steps(2) / _steps(1) for _ in range(ROUNDS))


def _steps(processes: int) -> int:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Barrier(processes), context.Queue()
    running = [context.Process(target=_train, args=(ready, done)) for _ in range(processes)]
    for process in running:
        process.start()
    return sum(done.get() for _ in running)


def _train(ready: Barrier, done: Queue) -> None:
    """Put into `done` how many steps of language modelling are done in ROUND_SECONDS, once all are `ready`."""
    torch.set_num_threads(1)
    model = small.language_model().train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    batch = torch.randint(3, small.VOCABULARY, (64, small.PROMPT_TOKENS + small.ANSWER_TOKENS))
    ready.wait()
    end, steps = time.perf_counter() + ROUND_SECONDS, 0
    while time.perf_counter() < end:
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        steps += 1
    done.put(steps)


def sweep(root: Path, workers: int, *overrides: str) -> tuple[float, float]:
    """Seconds of a sweep from the command to its end: on the clock, and of the processor in all its processes."""
    launcher = ("hydra/launcher=joblib", f"hydra.launcher.n_jobs={workers}", "hydra.launcher.batch_size=1")
    command = [sys.executable, "-m", "rlhf_lab", "experiment=tiny", *launcher, *overrides]
    start, used = time.perf_counter(), os.times()
    done = subprocess.run(command, env=os.environ | {"RLHF_LAB_STORE": str(root)}, capture_output=True)
    if done.returncode:
        raise RuntimeError(done.stdout.decode() + done.stderr.decode())
    now = os.times()
    processor = now.children_user + now.children_system - used.children_user - used.children_system
    return time.perf_counter() - start, processor


def intervals(root: Path, alone: bool) -> list[tuple[float, float]]:
    """When each stage that jobs have alone, or share, was begun and made, seconds since the epoch."""
    found: list[dict[str, Any]] = [manifest_of(path.parent) for path in root.glob(f"*/*/{MANIFEST}")]
    wanted = [made for made in found if (made["stage"].rpartition(".")[2] in ALONE) == alone]
    return [(made["made"] - made["seconds"], made["made"]) for made in wanted]


def both_busy(parts: list[tuple[float, float]], during: list[tuple[float, float]]) -> float:
    """Of the time in which something of `during` was under way, the share in which two of `parts` were."""
    moments = sorted({moment for interval in parts for moment in interval})
    one = two = 0.0
    for begin, end in pairwise(moments):
        busy = sum(start <= begin and end <= stop for start, stop in parts)
        if any(start <= begin and end <= stop for start, stop in during):
            one += end - begin
            two += (end - begin) * (busy > 1)
    return two / one


def tries(root: Path) -> Counter[tuple[str, str]]:
    """How often each stage was begun, by name and key, as the jobs' logs say."""
    logs = [path.read_text() for path in (root / "runs").glob("*/log.txt")]
    return Counter(found for log in logs for found in BEGUN.findall(log))


def shared(root: Path) -> None:
    """Run twelve jobs of best-of-n against two reward models with two workers; print what was begun how often."""
    sweep(root, 2, *TWELVE)
    begun = tries(root)
    stages = {
        (name, key) for row in records.sweep_record("tiny", root)["jobs"] for name, key in row["stages"]
    }
    asked = sum(len(row["stages"]) for row in records.sweep_record("tiny", root)["jobs"])
    counts = Counter(name for name, _ in stages)
    print(
        f"12 jobs, 2 reward models: {asked} stages asked for, {len(stages)} distinct, {begun.total()} begun"
    )
    for name, count in counts.items():
        again = sum(begun[one] for one in stages if one[0] == name)
        print(f"  {name:16} {count:3} distinct, begun {again:3} times")
    together = intervals(root, alone=False)
    both = both_busy(together + intervals(root, alone=True), together)
    print(f"  two stages under way while a shared one was made  {both:5.0%}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=80)
    args = parser.parse_args()
    print(f"load {' '.join(f'{one:.1f}' for one in os.getloadavg())} on {os.cpu_count()} cores before")
    print(f"bare training in two processes over one {two_over_one():6.2f}")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        took = {
            workers: sweep(root / str(workers), workers, *EIGHT, f"policy.steps={args.steps}")
            for workers in (1, 2)
        }
        for workers, (clock, processor) in took.items():
            print(f"8 jobs, workers: {workers}   {clock:6.1f} s, {processor:6.1f} of the processor")
        print(f"{'ratio':20} {took[1][0] / took[2][0]:6.2f}")
        whole = intervals(root / "2", alone=True) + intervals(root / "2", alone=False)
        print(f"two stages under way {both_busy(whole, whole):6.0%} of the time")
        shared(root / "shared")
    print(f"load {' '.join(f'{one:.1f}' for one in os.getloadavg())} after")


if __name__ == "__main__":
    main()
