"""Uncertainty over questions and replicates: clustered standard errors and the cluster bootstrap.

The question is the cluster: all its framings and answers are drawn together. Replicates are runs that differ
in their seeds only. Fewer than five of them say nothing of their spread, so the bootstrap keeps them and its
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
        """(count,): how often each of `count` questions was drawn."""
        return np.ones(count) if self.seed is None else _times_drawn(self.seed, count)


@lru_cache(maxsize=4096)  # all arms of a figure draw the same questions
def _times_drawn(seed: int, count: int) -> Floats:
    draw = np.random.default_rng(seed).integers(count, size=count)
    times = np.bincount(draw, minlength=count).astype(float)
    times.setflags(write=False)
    return times


def original(replicates: int) -> Resample:
    """Every replicate and every question once."""
    return Resample(np.arange(replicates), None)


def resamples(replicates: int, rng: np.random.Generator, n: int) -> list[Resample]:
    """`n` draws: of replicates (kept as they are if fewer than five), then of questions."""
    seeds = rng.integers(2**63, size=n)
    if conditional(replicates):
        return [Resample(np.arange(replicates), int(seed)) for seed in seeds]
    drawn = rng.integers(replicates, size=(n, replicates))
    return [Resample(row, int(seed)) for row, seed in zip(drawn, seeds, strict=True)]


def percentile_interval(draws: ArrayLike, level: float = 0.95) -> Interval:
    """The central `level` of bootstrap draws; infinite draws count, a NaN makes the interval NaN."""
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

    def interval(self, level: float = 0.95) -> Interval:
        """Return the central `level` of the draws."""
        return percentile_interval(self.draws, level)


def weights_of(draws: Sequence[Resample], count: int) -> Floats:
    """(B, count): how often each question was drawn, one row a resample."""
    return np.stack([draw.questions(count) for draw in draws])
