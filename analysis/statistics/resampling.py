"""The cluster bootstrap over replicates and questions.

The question is the cluster: all its framings and answers are drawn together. Replicates are runs that differ only in
their seeds. Fewer than five of them say too little of their spread, so the bootstrap keeps them as they are and its
intervals are conditional on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_lab.functional.intervals import Interval, conditional

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Resample:
    """One draw of replicates and questions; the same draw of questions serves every replicate."""

    replicates: NDArray[np.int64]  # (R,) which replicates, with repetition
    seed: int | None  # of the draw of questions; None takes each once

    def questions(self, count: int) -> Floats:
        """Return how often each of `count` questions was drawn, (count,)."""
        return np.ones(count) if self.seed is None else _times_drawn(self.seed, count)


@lru_cache(maxsize=4096)  # all arms of a figure draw the same questions
def _times_drawn(seed: int, count: int) -> Floats:
    draw = np.random.default_rng(seed).integers(count, size=count)
    times = np.bincount(draw, minlength=count).astype(float)
    times.setflags(write=False)
    return times


def original(replicates: int) -> Resample:
    """Return the draw that has every replicate and every question once."""
    return Resample(np.arange(replicates), None)


def resamples(replicates: int, rng: np.random.Generator, n: int) -> list[Resample]:
    """Return `n` draws of replicates (kept as they are if fewer than five) and of questions."""
    seeds = rng.integers(2**63, size=n)
    if conditional(replicates):
        return [Resample(np.arange(replicates), int(seed)) for seed in seeds]
    drawn = rng.integers(replicates, size=(n, replicates))
    return [Resample(row, int(seed)) for row, seed in zip(drawn, seeds, strict=True)]


def percentile_interval(draws: ArrayLike, level: float = 0.95) -> Interval:
    """Return the central `level` of bootstrap draws; infinite draws count, and a NaN makes the interval NaN.

    Bounds are draws themselves (`inverted_cdf`), since numbers between a finite and an infinite draw mean nothing;
    `scipy.stats.bootstrap` interpolates.
    """
    tail = (1 - level) / 2
    lo, hi = np.quantile(np.asarray(draws, dtype=float), [tail, 1 - tail], method="inverted_cdf")
    return Interval(float(lo), float(hi))


class Bootstrapped(NamedTuple):
    """A number with its bootstrap draws; it is reported as an `Estimate` is, with percentile intervals."""

    value: float
    draws: Floats  # (B,) of replicates and questions
    replicates: int

    @property
    def is_conditional(self) -> bool:
        """Whether the interval is conditional on the replicates at hand."""
        return conditional(self.replicates)

    @property
    def se(self) -> float:
        """The standard deviation of the draws."""
        return float(np.std(self.draws, ddof=1))

    def interval(self, level: float = 0.95) -> Interval:
        """Return the central `level` of the draws."""
        return percentile_interval(self.draws, level)


def weights_of(draws: Sequence[Resample], count: int) -> Floats:
    """Return how often each question was drawn, (B, count): one row a draw."""
    return np.stack([draw.questions(count) for draw in draws])
