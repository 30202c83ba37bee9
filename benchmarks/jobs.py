"""Processor seconds of 1,000 jobs beyond Hydra's composing: to plan, to key, to name, to list and to read.

python -m benchmarks.jobs [--jobs 1000]

The jobs are a sweep of best-of-n over reward models and seeds; their runs are made of a few rows each, so that what
is timed is what each run costs whatever its size.
"""

from __future__ import annotations

import argparse
import copy
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf, open_dict

from analysis.commands import runs as listing
from rlhf_lab import pipeline, records
from rlhf_lab.commands import compose as sources
from rlhf_lab.commands import show, sweeper
from rlhf_lab.commands.folders import folder
from rlhf_lab.commands.job import typed
from rlhf_lab.commands.planned import Job
from rlhf_lab.store import Node, Store

LIMIT = 5.0  # seconds
PROMPTS, ANSWERS = 8, 16
FILES = {"samples": "samples.parquet", "score": "scores.parquet"}


def jobs(count: int) -> list[Job]:
    """`count` jobs of one sweep, planned: a reward model each, over few shared pairs."""
    sources.register()
    sweeper.register()
    with initialize_config_dir(str(folder("conf")), version_base="1.3"):
        cfg = compose("config", overrides=["experiment=tiny"], return_hydra_config=True)
    choices = {key: str(value) for key, value in cfg.hydra.runtime.choices.items() if "/" not in key}
    with open_dict(cfg):
        del cfg["hydra"]
    plain: Any = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    one = typed(cfg)
    found = []
    for index in range(count):
        experiment, config = copy.deepcopy(one), copy.deepcopy(plain)
        experiment.rm.seed = config["rm"]["seed"] = index
        overrides = ("experiment=tiny", f"rm.seed={index}")
        found.append(Job(index, overrides, choices, config, experiment, pipeline.plan(experiment)))
    return found


def make(job: Job, store: Store) -> None:
    """Publish every stage of the job that is not there, with made-up rows."""
    rng = np.random.default_rng(job.index)
    rows = PROMPTS * ANSWERS
    prompt = np.repeat(np.arange(PROMPTS, dtype=np.int32), ANSWERS)

    def fill(node: Node, out: Path) -> None:
        if node.name == "sft_answers":
            records.write_table(out / records.SAMPLES, {"prompt_id": prompt, "question_id": prompt})
        elif node.name == "score":
            records.write_table(out / records.SCORES, {node.config.name: rng.normal(size=rows)})

    for node in job.leaf.walk():
        if not store.made(node):
            store.publish(node, lambda out, node=node: fill(node, out), provenance={})


def timed(name: str, function: Callable[[], Any]) -> Any:
    """What the function returns; prints the processor time that it took."""
    start = time.process_time()
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        found = function()
    took = time.process_time() - start
    print(f"  {name:44} {took:6.2f} s{'' if took < LIMIT else '  over the limit'}")
    return found


def read(root: Path, planned: Sequence[Job]) -> None:
    """Time what reads the store of the finished sweep."""
    timed("rlhf-runs", lambda: listing.main(["--store", str(root)]))
    runs = timed("records.runs", lambda: records.runs("adhoc", root))
    timed("rows of every run", lambda: [run.rows(["prompt_id", "proxy", "gold"]) for run in runs])
    assert len(runs) == len(planned)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1000)
    args = parser.parse_args()
    print(f"{args.jobs} jobs, limit {LIMIT:.0f} s each line")
    planned = timed("plan and keys", lambda: jobs(args.jobs))
    with tempfile.TemporaryDirectory() as root:
        store = Store(root)
        timed("what runtime.plan=true prints", lambda: show.plan(planned, store))
        timed("sweep record", lambda: sweeper.record(planned, store))
        for job in planned:
            make(job, store)
        timed("what a finished sweep prints", lambda: show.outcome(planned, store, None))
        read(Path(root), planned)


if __name__ == "__main__":
    main()
