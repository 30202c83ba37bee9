"""False alarms of claim 1: each null goes 200 times through the code that decides on real runs.

python -m analysis.worlds.nulls
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from analysis.best_of_n.estimator import grid, question_curves
from analysis.statistics.claims import exceeds_by_ses, thresholds
from analysis.statistics.turnover import halves, turnover
from analysis.worlds.scores import Size, World
from analysis.worlds.turning import NULLS, TURNING
from rlhf_lab.functional.intervals import wilson

TIMES = 200


def decide(world: World, rng: np.random.Generator) -> bool | None:
    """Whether gold turns over in `world`, by the rule of figure 1."""
    limits = thresholds("gao2022_fig1")["gold_turns"]
    curves = question_curves(world.proxy, world.gold, grid(world.gold.shape[1]), world.question)
    curves /= world.gold.std()
    found = turnover(curves, halves(len(curves), rng))
    return exceeds_by_ses(found.drop, found.se, limits["ses"], limits["margin"])


def states(
    make: Callable[[np.random.Generator, Size], World], times: int, rng: np.random.Generator, size: Size
) -> list[bool | None]:
    """The decision on `times` independent worlds."""
    return [decide(make(rng, size), rng) for _ in range(times)]


def report(times: int = TIMES, seed: int = 0) -> Table:
    """One row a world: how often the turnover claim comes out met, with Wilson's 95 % interval."""
    size = Size()
    table = Table(
        title=f"Claim 1 on {times} worlds of {size.prompts} prompts, {size.questions} questions, "
        f"{size.answers} answers"
    )
    for column in ("world", "must be", "met", "95 % interval", "undecided", "not met"):
        table.add_column(column, justify="left" if column in ("world", "must be") else "right")
    for children, (name, make) in zip(
        np.random.SeedSequence(seed).spawn(len(NULLS) + len(TURNING)), (NULLS | TURNING).items(), strict=True
    ):
        found = states(make, times, np.random.default_rng(children), size)
        met = sum(state is True for state in found)
        bounds = wilson(met, times)
        table.add_row(
            name,
            "not met" if name in NULLS else "met",
            f"{met / times:.3f}",
            f"{bounds.lo:.3f} .. {bounds.hi:.3f}",
            f"{sum(state is None for state in found) / times:.3f}",
            f"{sum(state is False for state in found) / times:.3f}",
        )
    return table


if __name__ == "__main__":
    Console().print(report())
