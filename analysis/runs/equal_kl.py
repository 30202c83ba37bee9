"""Runs compared at equal KL, replicate by replicate: one reward model, one set of seeds, the same questions.

A run is taken where it first reaches a KL. Numbers are drawn: (B, R), one row a draw of questions, for `Estimate.of`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.best_of_n.curves import Curves
from analysis.runs.arms import BEST_OF_N, Arm
from analysis.statistics.resampling import weights_of
from rlhf_lab.functional import divergence
from rlhf_lab.functional.intervals import Estimate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Path:
    """One run in B draws of questions."""

    d: Floats  # (B, K) nats^0.5
    values: Floats  # (B, K)

    def at(self, d: Floats) -> Floats:
        """(B, T): the values where each `d` (B, T) is first reached, linear between checkpoints; NaN beyond."""
        reached = np.maximum.accumulate(self.d, axis=1)
        first = np.diff(reached, axis=1, prepend=-1.0) > 0
        place = np.maximum.accumulate(np.where(first, np.arange(first.shape[1]), 0), axis=1)
        # a checkpoint that reaches no further has the value of the last one that did
        held = np.take_along_axis(self.values, place, axis=1)
        left = (reached[:, None, :] <= d[:, :, None]).sum(axis=2) - 1
        ends = [np.clip(left + step, 0, first.shape[1] - 1) for step in (0, 1)]
        x, right = (np.take_along_axis(reached, end, axis=1) for end in ends)
        y, after = (np.take_along_axis(held, end, axis=1) for end in ends)
        with np.errstate(invalid="ignore", divide="ignore"):
            between = (after - y) / (right - x) * (d - x) + y
        return np.where(d > reached[:, -1:], np.nan, np.where(d <= x, y, between))


def path(arm: Arm, replicate: int, name: str, axis: str = "tie-aware") -> Path:
    """Return a replicate's number `name` over d; `axis` "bound" takes the analytic KL of best-of-n."""
    curves = arm.curves[replicate]
    weights = weights_of(arm.drawn.resamples, arm.questions)
    values = weights @ curves.by_question(name) / weights.sum(axis=1, keepdims=True)
    return Path(np.broadcast_to(root_kl(curves, weights, bound_of(arm, axis)), values.shape), values)


def bound_of(arm: Arm, axis: str) -> Floats | None:
    """(K,) nats: the analytic KL of best-of-n where `axis` is "bound"; None for other methods and axes."""
    if axis == "bound" and arm.method == BEST_OF_N:
        return divergence.best_of_n_bound(arm.curves[0].points)
    return None


def root_kl(curves: Curves, weights: Floats, kl: Floats | None = None) -> Floats:
    """(..., K): the root of a run's mean KL under weights of questions (..., C), or of `kl` (K,) where it is given."""
    mean = weights @ curves.kl / weights.sum(axis=-1, keepdims=True) if kl is None else kl
    return np.sqrt(np.maximum(mean, 0))


def pairs(first: Arm, second: Arm) -> list[tuple[int, int]]:
    """Return the indices in both arms of the replicates that have the same seeds."""
    shared = [
        (first.seeds.index(seeds), second.seeds.index(seeds))
        for seeds in first.seeds
        if seeds in second.seeds
    ]
    for i, j in shared:
        if not np.array_equal(first.curves[i].questions, second.curves[j].questions):
            raise ValueError(f"{first.title} and {second.title} were evaluated on different questions")
    return shared


class Difference(NamedTuple):
    """First minus second arm at equal KL, over the upper half in d of the range that both reach."""

    estimate: Estimate
    by_pair: Floats  # (R,) the difference of each pair of runs
    reach: Floats  # (R,) the largest KL that both of a pair reach, nats
    checkpoints: float  # how many of a run of the first arm are compared, on average


def difference(first: Arm, second: Arm, name: str) -> Difference | None:
    """Return the difference of a number between runs of the same seeds; None without a pair."""
    return path_difference([(path(first, i, name), path(second, j, name)) for i, j in pairs(first, second)])


def path_difference(paths: Sequence[tuple[Path, Path]]) -> Difference | None:
    """Return the difference of pairs of runs, a mean over the checkpoints of the first; None without a pair.

    The range is chosen from KL alone: from half of the largest d that both of a pair reach to that d. Below it lies the
    policy that they both start from. Checkpoints are averaged, not a grid in d, so that a run which stays at one KL is
    compared after many steps there, too.
    """
    if not paths:
        return None
    draws, reaches, counts = [], [], []
    for first, second in paths:
        reach = np.minimum(first.d.max(axis=1), second.d.max(axis=1))
        compared = (first.d >= reach[:, None] / 2) & (first.d <= reach[:, None])
        apart = first.values - second.at(first.d)
        count = compared.sum(axis=1)
        draws.append(np.where(compared, apart, 0).sum(axis=1) / count)
        reaches.append(reach[0])
        counts.append(count[0])
    table = np.stack(draws, axis=1)
    return Difference(Estimate.of(table), table[0], np.array(reaches) ** 2, float(np.mean(counts)))
