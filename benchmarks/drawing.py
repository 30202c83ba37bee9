"""Processor seconds of figures from one table of 512 answers to each of 512 prompts a reward model, and of each rule.

python -m benchmarks.drawing [--figure methods] [--answers 512]

The stores are those of the tests of figures, at the size of a real sweep: a figure's runs choose from one table of SFT
answers, and its reward models differ in the proxy. What is timed is `make`: reading, curves, claims and ink.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from analysis.runs.run_curves import curves_of
from rlhf_lab.store.records import Run, runs

sys.path.append(str(Path(__file__).parents[1] / "tests/analysis"))

from fake_store import Cell, Sweep, write_store  # pyright: ignore[reportMissingImports]

QUESTIONS, FRAMINGS = 128, 4  # 512 prompts
RULES: Mapping[str, tuple[str, Mapping[str, Any]]] = {  # option -> class of the policy, own settings
    "best_of_poisson": ("BestOfPoisson", {}),
    "soft_bon": ("SoftBestOfN", {"inverse_temperature": 2.0}),
    "mbr_bon": ("MBRBestOfN", {"proximity": 1.0}),
    "pessimism": ("Pessimism", {"beta": 1.0}),
}
TUNED = (("bon", 3), ("bon", 10), ("bon", 40), ("soft_bon", 40), ("best_of_poisson", 40))
PLAIN: Mapping[str, Any] = {"few_pairs": False, "control": False, "one_table": True, "tokens": 16}
TRAINED = ("grpo", "rloo", "online_dpo", "dpo", "ipo", "slic", "kto", "expert_iteration")
BETAS = (0.01, 0.03, 0.1, 0.3, 1.0)
SWEEPS = {
    "gao2022_fig1": Sweep(
        rms=("600k", "100k", "25k", "3k", "1k"), replicates=5, ppo_replicates=5, checkpoints=19, **PLAIN
    ),
    "rafailov2024_fig1": Sweep(
        rms=("3k",),
        replicates=3,
        ppo_replicates=0,
        cells=tuple(Cell(name, {"beta": beta}, 3) for name in ("dpo", "ipo", "slic") for beta in BETAS),
        **PLAIN,
    ),
    "methods": Sweep(
        rms=("3k",),
        replicates=5,
        ppo_replicates=5,
        checkpoints=19,
        cells=tuple(Cell(name, {}, 5) for name in TRAINED),
        **PLAIN,
    ),
    "khalaf2025_hedging": Sweep(rms=("25k", "3k", "1k"), replicates=5, ppo_replicates=0, **PLAIN),
}
HEDGED = {"methods": TUNED[2:3], "khalaf2025_hedging": TUNED}  # figures of every rule


def store(figure: str, answers: int, root: Path) -> list[Run]:
    """The runs of a figure, written to `root`; those of rules read what best-of-n's read."""
    size = {"questions": QUESTIONS, "framings": FRAMINGS, "answers": answers}
    write_store(root, replace(SWEEPS[figure], name=figure, **size))
    found = runs(figure, root)
    plain = [run for run in found if run.method == "BestOfN"]
    if figure in HEDGED:
        found += [as_rule(run, option, *rule) for option, rule in RULES.items() for run in plain]
        found += [tuned(run, *how) for how in HEDGED[figure] for run in plain]
    return found


def as_rule(run: Run, option: str, method: str, settings: Mapping[str, Any]) -> Run:
    """A run of another rule on the table of `run`."""
    config = dict(run.config) | {"policy": dict(run.config["policy"]) | dict(settings)}
    return replace(run, method=method, choices=dict(run.choices) | {"policy": option}, config=config)


def tuned(run: Run, rule: str, questions: int) -> Run:
    """A run of HedgeTune on the table of `run`."""
    return as_rule(run, "hedge_tune", "HedgeTune", {"rule": rule, "gold_questions": questions})


def by_rule(found: Sequence[Run]) -> dict[str, float]:
    """Seconds of one run of each rule, read and drawn alone."""
    names = {run.choices["policy"] + run.config["policy"].get("rule", ""): run for run in reversed(found)}
    return {name: seconds(curves_of, run) for name, run in names.items()}


def seconds(work: Callable[[Any], object], about: object) -> float:
    """Processor seconds of a call."""
    start = time.process_time()
    work(about)
    return time.process_time() - start


def main() -> None:
    """Print a line a figure, and one a rule under the figures of all rules."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figure", choices=SWEEPS, help="by default all")
    parser.add_argument("--answers", type=int, default=512, help="to each prompt")
    args = parser.parse_args()
    for figure in [args.figure] if args.figure else SWEEPS:
        with tempfile.TemporaryDirectory() as folder:
            found = store(figure, args.answers, Path(folder))
            make = import_module(f"analysis.figures.{figure}").make
            print(f"{figure:24} {len(found):4} runs {seconds(make, found):7.2f} s", flush=True)
            if figure == "methods":
                for rule, took in by_rule(found).items():
                    print(f"  one run of {rule:20} {took:7.2f} s", flush=True)


if __name__ == "__main__":
    main()
