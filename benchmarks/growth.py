"""Time and peak memory from 10^4 to 10^7 rows: best-of-n, tables written and read, rows of a run, the score stage.

python -m benchmarks.growth [--largest 7] [--only "curves of a run"]

Each line is a process of its own. Linear is the same time per row; flat is the same peak, where rows are streamed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rlhf_lab.store import records

ANSWERS, PORTION = 256, 4096  # answers to a prompt; rows written at a time, as sft_answers does
PROMPTS = 64  # of the score stage
TOKENS = 12  # of an answer
SCORED = 6  # at most 10^6 rows by a proxy, as each takes 50 us


def portions(rows: int, answers: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Made-up samples, the columns that are large or scored; their text is one of `answers` or a number."""
    rng = np.random.default_rng(0)
    for start in range(0, rows, PORTION):
        count = min(PORTION, rows - start)
        words = rng.integers(3, 200, size=count * TOKENS)
        ids = pa.ListArray.from_arrays(np.arange(0, len(words) + 1, TOKENS, dtype=np.int32), pa.array(words))
        said = pa.array(words[::TOKENS])
        yield {
            "prompt_id": np.arange(start, start + count, dtype=np.int32) // ANSWERS % PROMPTS,
            "text": said.cast(pa.string()) if answers is None else pa.array(answers).take(said),
            "token_ids": ids,
            "finished": np.ones(count, dtype=bool),
            "logp": rng.normal(size=count).astype(np.float32),
        }


def best_of_n(rows: int, folder: Path) -> Callable[[], object]:
    """Curves of every question from a matrix of scores."""
    from analysis.best_of_n import estimator

    proxy, gold = np.random.default_rng(0).normal(size=(2, max(1, rows // ANSWERS), ANSWERS))
    return lambda: estimator.expected_best_of_n(proxy, gold, estimator.grid(ANSWERS))


def stored(rows: int, folder: Path) -> records.Run:
    """A run of best-of-n in a store of its own."""
    from benchmarks import jobs
    from rlhf_lab.commands import sweeper
    from rlhf_lab.store.artifacts import Store

    store, planned = Store(folder), jobs.jobs(1)
    jobs.make(planned[0], store, max(2, rows // ANSWERS), ANSWERS)
    sweeper.record(planned, store)
    return records.runs("adhoc", folder)[0]


def curves(rows: int, folder: Path) -> Callable[[], object]:
    """What a figure makes of a run: its columns read, its curves, what scales them."""
    from analysis.runs import run_curves

    run = stored(rows, folder)
    return lambda: run_curves.curves_of(run)


def course(rows: int, folder: Path) -> Callable[[], object]:
    """What `rlhf-runs` makes of it."""
    from analysis.runs import run_summary

    run = stored(rows, folder)
    return lambda: run_summary.course(run)


def load(rows: int, folder: Path) -> Callable[[], object]:
    """The run's scores as a frame."""
    stored(rows, folder)
    return lambda: records.load("adhoc", folder, ["prompt_id", "gold", "proxy"])


def write(rows: int, folder: Path) -> Callable[[], object]:
    """Samples written portion by portion."""
    return lambda: records.write_parts(folder / "samples.parquet", portions(rows))


def read(rows: int, folder: Path) -> Callable[[], object]:
    """Samples read row group by row group."""
    write(rows, folder)()
    columns = ["prompt_id", "text", "token_ids"]
    return lambda: sum(len(part) for part in records.read_parts(folder / "samples.parquet", columns))


def columns(rows: int, folder: Path) -> Callable[[], object]:
    """Two columns of all samples at once."""
    write(rows, folder)()
    return lambda: records.read_table(folder / "samples.parquet", ["prompt_id", "logp"])["logp"].to_numpy()


def gold(rows: int, folder: Path) -> Callable[[], object]:
    """The score stage with the rubric."""
    from benchmarks import jobs
    from rlhf_lab.config.runtime import Runtime
    from rlhf_lab.stages import score as stage
    from rlhf_lab.stages import task
    from rlhf_lab.stages.score import Scorer

    experiment, runtime = jobs.base([])[2], Runtime("store", False, [], "cpu", 1, 512, 10, 1)
    task.run(experiment.task, {}, folder, runtime)
    answers = records.read_table(folder / "demonstrations.parquet")["answer"].to_pylist()
    samples = portions(rows, [answers[place % len(answers)] for place in range(200)])
    records.write_parts(folder / "samples.parquet", samples)
    inputs = {name: folder for name in ("task", "samples")}
    return lambda: stage.run(Scorer("gold"), inputs, folder, runtime)


def proxy(rows: int, folder: Path) -> Callable[[], object]:
    """The score stage with a proxy."""
    import torch

    from benchmarks import small
    from rlhf_lab.config.runtime import Runtime
    from rlhf_lab.models import loading
    from rlhf_lab.stages import score as stage
    from rlhf_lab.stages.score import Scorer

    torch.set_num_threads(1)
    tokenizer = small.tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    loading.save(small.reward_model(), tokenizer, folder / "model")
    tokenizer.save_pretrained(folder / "tokenizer")
    write(rows, folder)()
    asked = [
        json.dumps([{"role": "user", "content": tokenizer.decode(ids)}]) for ids in small.prompts(PROMPTS)
    ]
    records.write_table(folder / "prompts.parquet", {"messages": asked})
    limits = {"prompt_tokens": small.PROMPT_TOKENS, "answer_tokens": small.ANSWER_TOKENS}
    (folder / "task.json").write_text(json.dumps(limits))
    runtime = Runtime("store", False, [], "cpu", 1, 512, 10, 1)
    inputs = {name: folder for name in ("task", "samples", "proxy")}
    return lambda: stage.run(Scorer("proxy"), inputs, folder, runtime)


PARTS = {
    "best of n": best_of_n,
    "curves of a run": curves,
    "rlhf-runs": course,
    "load": load,
    "write": write,
    "read": read,
    "two columns": columns,
    "gold": gold,
    "proxy": proxy,
}


def measure(part: str, rows: int) -> None:
    """Print processor seconds and the peak of memory in MB, as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        work = PARTS[part](rows, Path(folder))
        start = time.process_time()
        work()
        took = time.process_time() - start
    print(json.dumps([took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--largest", type=int, default=7, help="the power of ten")
    parser.add_argument("--only", choices=PARTS, help="this part alone")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        measure(args.part, args.rows)
        return
    print(f"{'':15} {'rows':>10} {'seconds':>9} {'us/row':>8} {'peak MB':>8}")
    for part in [args.only] if args.only else PARTS:
        for power in range(4, min(args.largest, SCORED if part == "proxy" else 7) + 1):
            command = [sys.executable, "-m", "benchmarks.growth", "--part", part, "--rows", str(10**power)]
            took, peak = json.loads(subprocess.check_output(command).splitlines()[-1])
            print(
                f"{part:15} {10**power:10} {took:9.2f} {took / 10 ** (power - 6):8.2f} {peak:8.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
