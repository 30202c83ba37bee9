"""The cluster bootstrap over replicates and questions.

The question is the cluster: all its framings and answers are drawn together. Replicates are runs that differ only in
their seeds. With fewer than five of them there are too few different draws, so the bootstrap keeps them as they are and
its intervals are conditional on them. A number that is a mean over replicates has an `Estimate`, which needs no draws
of replicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtrit

from rlhf_lab.functional.intervals import LEVEL, Interval

Floats = NDArray[np.float64]

FEWEST_REPLICATES = 5  # that are resampled


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
    if kept(replicates):
        return [Resample(np.arange(replicates), int(seed)) for seed in seeds]
    drawn = rng.integers(replicates, size=(n, replicates))
    return [Resample(row, int(seed)) for row, seed in zip(drawn, seeds, strict=True)]


def kept(replicates: int) -> bool:
    """Return whether draws keep the replicates as they are, as there are too few to resample."""
    return replicates < FEWEST_REPLICATES


def expanded(level: float, replicates: int) -> float:
    """Return the share of the draws whose percentiles make an interval at `level`.

    Draws of R replicates spread less than means of R replicates, by the root of (R - 1) / R, and their percentiles are
    those of a normal and not of Student's t. The expanded share makes up for both (Hesterberg, The American
    Statistician 69, 371, 2015, section 5.3). Draws that keep the replicates need none.
    """
    if kept(replicates):
        return level
    t = float(stdtrit(replicates - 1, (1 + level) / 2)) * np.sqrt(replicates / (replicates - 1))
    return float(2 * ndtr(t) - 1)


def percentile_interval(draws: ArrayLike, level: float = LEVEL, replicates: int = 1) -> Interval:
    """Return the interval at `level` from draws of `replicates`; infinite draws count, and a NaN makes it NaN.

    Bounds are draws themselves (`inverted_cdf`), since numbers between a finite and an infinite draw mean nothing;
    `scipy.stats.bootstrap` interpolates.
    """
    tail = (1 - expanded(level, replicates)) / 2
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
        return kept(self.replicates)

    @property
    def se(self) -> float:
        """The standard deviation of the draws."""
        return float(np.std(self.draws, ddof=1))

    def interval(self, level: float = LEVEL) -> Interval:
        """Return the interval at `level` by the percentiles of the draws."""
        return percentile_interval(self.draws, level, self.replicates)


def weights_of(draws: Sequence[Resample], count: int) -> Floats:
    """Return how often each question was drawn, (B, count): one row a draw."""
    return np.stack([draw.questions(count) for draw in draws])
