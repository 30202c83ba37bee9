"""Processor seconds of 1,000 jobs beyond Hydra's composing: to plan, to key, to name, to list, to read and to draw.

python -m benchmarks.jobs [--jobs 1000] [--large 55]

The jobs are a sweep of best-of-n over reward models and seeds; their runs are made of a few rows each, so that what
is timed is what each run costs whatever its size. Then `rlhf-runs` lists runs as large as the reported ones.
"""

from __future__ import annotations

import argparse
import copy
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf, open_dict

from analysis.commands import figures
from analysis.commands import runs as listing
from rlhf_lab.commands import compose as sources
from rlhf_lab.commands import display, sweeper
from rlhf_lab.commands.job import typed
from rlhf_lab.commands.jobs import Job
from rlhf_lab.commands.options import folder
from rlhf_lab.config.experiment import Experiment
from rlhf_lab.pipeline import plan
from rlhf_lab.store import records
from rlhf_lab.store.artifacts import Node, Store

LIMIT = 5.0  # seconds
SMALL, LARGE = (8, 16), (512, 512)  # prompts and answers to each
DRAWN = (64, 64)  # of the runs of a figure
PORTION = 16  # prompts whose answers are written at a time, as sft_answers does
WORDS, TOKENS = 200, 12  # of the vocabulary; of an answer
FIGURE, SIZES, SEEDS = "quickstart", 2, 5  # sizes of its reward models, replicates of each


def jobs(count: int, sizes: int = 1, sweep: str = "adhoc") -> list[Job]:
    """`count` jobs of one sweep, planned: each seed has a reward model of each size, over answers of its own where
    there are several.
    """
    bases = [base([f"rm.model.hidden={16 * 2**size}"]) for size in range(sizes)]
    found = []
    for index in range(count):
        seed, size = divmod(index, sizes)
        choices, plain, one = bases[size]
        experiment, config = copy.deepcopy(one), copy.deepcopy(plain)
        experiment.rm.seed = config["rm"]["seed"] = seed
        if sizes > 1:
            experiment.policy.seed = config["policy"]["seed"] = 1 + seed
        overrides = ("experiment=tiny", f"rm.seed={seed}", f"rm.model.hidden={16 * 2**size}")
        of = choices | {"rm": f"size {size}", "experiment": sweep}
        found.append(Job(index, overrides, of, config, experiment, plan.plan(experiment)))
    return found


def base(overrides: list[str]) -> tuple[dict[str, str], dict[str, Any], Experiment]:
    """The choices, plain values and typed values of one composed experiment."""
    sources.register()
    sweeper.register()
    with initialize_config_dir(str(folder("conf")), version_base="1.3"):
        cfg = compose("config", overrides=["experiment=tiny", *overrides], return_hydra_config=True)
    choices = {key: str(value) for key, value in cfg.hydra.runtime.choices.items() if "/" not in key}
    with open_dict(cfg):
        del cfg["hydra"]
    plain: Any = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    return choices, plain, typed(cfg)


def samples(prompts: int, answers: int) -> Iterator[dict[str, Any]]:
    """Made-up samples, `PORTION` prompts at a time."""
    rng = np.random.default_rng(0)
    for start in range(0, prompts, PORTION):
        prompt = np.repeat(np.arange(start, min(start + PORTION, prompts), dtype=np.int32), answers)
        words = rng.integers(3, WORDS, size=len(prompt) * TOKENS, dtype=np.int32)
        ends = np.arange(0, len(words) + 1, TOKENS, dtype=np.int32)
        yield {
            "prompt_id": prompt,
            "question_id": prompt // 2,
            "text": pa.array(words[::TOKENS]).cast(pa.string()),
            "token_ids": pa.ListArray.from_arrays(ends, pa.array(words)),
            "finished": np.ones(len(prompt), dtype=bool),
            "logp": rng.normal(size=len(prompt)).astype(np.float32),
        }


def scores(scorer: str, seed: int, prompts: int, answers: int) -> Iterator[dict[str, Any]]:
    """Made-up scores of them: two parts of gold, and a proxy that likes them both."""
    rng, noise = np.random.default_rng(0), np.random.default_rng([1, seed])
    for start in range(0, prompts, PORTION):
        count = min(PORTION, prompts - start) * answers
        content, form = rng.normal(size=count), -(rng.random(count) < 0.1).astype(float)
        gold = {"gold": content + form, "gold.content": content, "gold.form": form}
        found = gold if scorer == "gold" else {scorer: content + noise.normal(size=count)}
        yield {name: value.astype(np.float32) for name, value in found.items()}


def make(job: Job, store: Store, prompts: int, answers: int) -> None:
    """Publish every stage of the job that is not there, with made-up rows."""

    def fill(node: Node, out: Path) -> None:
        """Write the rows of a stage that has some."""
        if node.name == "sft_answers":
            records.write_parts(out / records.SAMPLES, samples(prompts, answers))
        elif node.name == "score":
            found = scores(node.config.name, job.index, prompts, answers)
            records.write_parts(out / records.SCORES, found)

    for node in job.leaf.walk():
        if not store.made(node):
            store.publish(node, lambda out, node=node: fill(node, out), provenance={})


def timed(name: str, function: Callable[[], Any]) -> Any:
    """What the function returns; prints the time that it took, of the processor and on the wall."""
    start, clock = time.process_time(), time.perf_counter()
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        found = function()
    took, passed = time.process_time() - start, time.perf_counter() - clock
    print(
        f"  {name:44} {took:6.2f} s {passed:6.2f} s{'' if took < LIMIT else '  over the limit'}", flush=True
    )
    return found


def read(store: Store, planned: Sequence[Job]) -> None:
    """Time what reads the store of the finished sweep."""
    root = store.root
    timed("rlhf-runs", lambda: listing.main(["--store", str(root)]))
    timed("rlhf-runs --all", lambda: listing.main(["--store", str(root), "--all"]))
    runs = timed("records.runs", lambda: records.runs("adhoc", root))
    timed("rows of every run", lambda: [run.rows(["prompt_id", "proxy", "gold"]) for run in runs])
    assert len(runs) == len(planned)


def draw(store: Store) -> None:
    """Time a figure of a few runs beside all that is in the store."""
    drawn = jobs(SIZES * SEEDS, SIZES, FIGURE)
    for job in drawn:
        make(job, store, *DRAWN)
    sweeper.record(drawn, store)
    with tempfile.TemporaryDirectory() as out:
        command = [FIGURE, "--store", str(store.root), "--out", out]
        timed(f"a figure of {len(drawn)} runs among them", lambda: figures.main(command))


def large(count: int) -> None:
    """Time `rlhf-runs` where every run has a quarter of a million answers."""
    with tempfile.TemporaryDirectory() as root:
        store, planned = Store(root), jobs(count, SEEDS, "large")
        for job in planned:
            make(job, store, *LARGE)
        sweeper.record(planned, store)
        timed(
            f"rlhf-runs, {count} runs of {LARGE[0] * LARGE[1]:,} answers",
            lambda: listing.main(["--store", root, "--sweep", "large"]),
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--large", type=int, default=55, help="runs as large as the reported ones")
    args = parser.parse_args()
    print(f"{args.jobs} jobs, limit {LIMIT:.0f} s each line" + " " * 19 + "processor    wall")
    planned = timed("plan and keys", lambda: jobs(args.jobs))
    with tempfile.TemporaryDirectory() as root:
        store = Store(root)
        timed("what runtime.plan=true prints", lambda: display.plan(planned, store))
        timed("sweep record", lambda: sweeper.record(planned, store))
        for job in planned:
            make(job, store, *SMALL)
        timed("what a finished sweep prints", lambda: display.outcome(planned, store, None))
        read(store, planned)
        draw(store)
    large(args.large)


if __name__ == "__main__":
    main()
