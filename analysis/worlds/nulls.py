"""How often the turnover claim errs: worlds and training runs in which it is known whether gold turns.

In the nulls gold does not turn, and the rule of `gao2022_fig1.gold_turns` must not say that it does; in W1 it
turns by construction. `python -m analysis.worlds.nulls` sends 200 of each, and 2,000 curves of trained policies of
each shape, through the code that decides on real runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from analysis.best_of_n.estimator import grid, question_curves
from analysis.statistics.claims import all_met, exceeds, thresholds
from analysis.statistics.turnover import halves, turnover
from analysis.worlds import training_curves
from analysis.worlds.training_curves import NO_TURN, TURN, Kind, Training
from analysis.worlds.world import Size, World, questions
from rlhf_lab.functional.intervals import Rate

Floats = NDArray[np.float64]

TIMES = 200
TRAININGS = 2000
REPLICATES = (2, 5)


def gold_itself(rng: np.random.Generator, size: Size) -> World:
    """Return a world of selection by gold, which rises and flattens at its bound."""
    gold, question = rubric_gold(rng, size)
    return World(gold, gold, question)


def plateau(rng: np.random.Generator, size: Size) -> World:
    """Return a world whose proxy follows gold up to its median and is small noise above it."""
    gold, question = rubric_gold(rng, size)
    return World(np.minimum(gold, np.median(gold)) + rng.normal(0, 0.1, gold.shape), gold, question)


def gaussian_noise(rng: np.random.Generator, size: Size) -> World:
    """Return a world whose proxy is gold plus noise twice as wide.

    Regressional Goodhart alone is monotone (2210.10760, section 4.2.1).
    """
    gold, question = rubric_gold(rng, size)
    return World(gold + rng.normal(0, 2 * gold.std(), gold.shape), gold, question)


def independent(rng: np.random.Generator, size: Size) -> World:
    """Return a world whose proxy is independent of gold."""
    gold, question = rubric_gold(rng, size)
    return World(rng.normal(size=gold.shape), gold, question)


def w1(rng: np.random.Generator, size: Size, rho: float = 0.3, c: float = 0.12) -> World:
    """Return world W1, in which best-of-n turns over for c > 0.

    The proxy is p ~ N(0, 1); gold is rho p - c (p^2 - 1) plus noise and a level of each question.
    """
    question = questions(size)
    proxy = rng.normal(size=(size.prompts, size.answers))
    level = rng.normal(size=size.questions)[question][:, None]
    noise = rng.normal(size=proxy.shape)
    return World(proxy, rho * proxy - c * (proxy**2 - 1) + level + noise, question)


def rubric_gold(rng: np.random.Generator, size: Size) -> tuple[Floats, NDArray[np.int64]]:
    """Return gold (Q, N) like the embedded task's, and the question of each prompt (Q,).

    Gold is bounded, a mixture, and full of ties. The policy knows some questions and not others: its chance of a right
    claim is Beta(0.7, 0.7) over questions.
    """
    question = questions(size)
    shape = (size.prompts, size.answers)
    right = rng.random(shape) < rng.beta(0.7, 0.7, size.questions)[question][:, None]
    silent = rng.random(shape) < 0.1
    claim = np.where(silent, -0.5, np.where(right, 1.0, -1.0))
    complete = right & ~silent & (rng.random(shape) < 0.5)
    courtesy = rng.integers(3, size=shape) / 2
    insult = (1 - np.exp(-1.0)) * (rng.random(shape) < 0.1)
    illegal = 1 - np.exp(-0.5 * (rng.random(shape) < 0.05))
    return 1.5 * claim + 0.5 * complete + courtesy - 0.9 * insult - 0.8 * illegal, question


NULLS: dict[str, Callable[[np.random.Generator, Size], World]] = {
    "selection by gold itself": gold_itself,
    "plateau above the median": plateau,
    "gold plus Gaussian noise": gaussian_noise,
    "proxy independent of gold": independent,
}
TURNING: dict[str, Callable[[np.random.Generator, Size], World]] = {
    "world W1, c = 0.2": lambda rng, size: w1(rng, size, c=0.2)
}


# --- how often the claim is met -------------------------------------------------------------------------------


def decide(curves: Floats, rng: np.random.Generator) -> bool | None:
    """Return whether `curves` (R, C, K) or (C, K) turn, by the rule of `gao2022_fig1.gold_turns`."""
    threshold = thresholds("gao2022_fig1")["gold_turns"]["threshold"]
    turn = turnover(curves, halves(curves.shape[-2], rng))
    return all_met(exceeds(part.interval(), threshold) for part in (turn.rise, turn.fall))


def best_of_n(world: World) -> Floats:
    """Return gold of best-of-n in `world`, (C, K), in its SDs."""
    curves = question_curves(world.proxy, world.gold, grid(world.gold.shape[1]), world.question)
    return curves / world.gold.std()


def states(
    make: Callable[[np.random.Generator, Size], World], times: int, rng: np.random.Generator, size: Size
) -> list[bool | None]:
    """Return the decision on each of `times` independent worlds."""
    return [decide(best_of_n(make(rng, size)), rng) for _ in range(times)]


def trained_states(kind: Kind, replicates: int, times: int, rng: np.random.Generator) -> list[bool | None]:
    """Return the decision on each of `times` sets of training runs of one kind."""
    shape, unusual = kind
    training = replace(Training(replicates=replicates), **unusual)
    return [decide(training_curves.curves(shape, training, rng), rng) for _ in range(times)]


def report(times: int = TIMES, seed: int = 0) -> Table:
    """Return a table of how often the turnover claim comes out met in each world, with Wilson's 95 % interval."""
    size = Size()
    table = _table(
        f"Gold turns: {times} worlds of best-of-n, {size.prompts} prompts, {size.questions} questions, "
        f"{size.answers} answers"
    )
    for seeds, (name, make) in _seeded(NULLS | TURNING, seed):
        _add(table, name, name in TURNING, states(make, times, np.random.default_rng(seeds), size))
    return table


def trained_report(replicates: int, times: int = TRAININGS, seed: int = 0) -> Table:
    """Return the table for the curves of trained policies with this many replicates."""
    table = _table(f"Gold turns: {times} times {replicates} training runs")
    for seeds, (name, kind) in _seeded(NO_TURN | TURN, seed):
        _add(table, name, name in TURN, trained_states(kind, replicates, times, np.random.default_rng(seeds)))
    return table


def _seeded(kinds: dict[str, Any], seed: int) -> Iterable[tuple[np.random.SeedSequence, tuple[str, Any]]]:
    return zip(np.random.SeedSequence(seed).spawn(len(kinds)), kinds.items(), strict=True)


def _table(title: str) -> Table:
    table = Table(title=title)
    for column in ("world", "turns", "met", "95 % interval", "undecided", "not met"):
        table.add_column(column, justify="left" if column in ("world", "turns") else "right")
    return table


def _add(table: Table, name: str, turns: bool, decisions: Sequence[bool | None]) -> None:
    times, met = len(decisions), sum(state is True for state in decisions)
    bounds = Rate(met, times).interval()
    table.add_row(
        name,
        "yes" if turns else "no",
        f"{met / times:.3f}",
        f"{bounds.lo:.3f} .. {bounds.hi:.3f}",
        f"{sum(state is None for state in decisions) / times:.3f}",
        f"{sum(state is False for state in decisions) / times:.3f}",
    )


if __name__ == "__main__":
    console = Console()
    console.print(report())
    for replicates in REPLICATES:
        console.print(trained_report(replicates))
