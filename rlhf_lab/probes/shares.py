"""Shares of items with 95 % intervals, also over few questions."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rlhf_lab.functional.intervals import Rate, clustered_mean

METHOD = (
    "95 % intervals: Student's t over questions (df = questions - 1, SE clustered by question); Wilson's with a trial "
    "a question where no question differs from another"
)


class Share(NamedTuple):
    """A mean over items with its 95 % interval over questions; NaN if there is none."""

    value: float
    lo: float
    hi: float
    items: int
    questions: int

    def __str__(self) -> str:
        """Return the share with its interval, to three digits."""
        if not self.items:
            return "-"
        interval = "" if np.isnan(self.lo) else f" [{self.lo:.3f}, {self.hi:.3f}]"
        return f"{self.value:.3f}{interval}"


def share(values: ArrayLike, questions: Sequence[Hashable], lowest: float = 0.0) -> Share:
    """Return the mean of `values` (N,) in [lowest, 1], with an interval clustered by question (N,).

    The interval is Student's t with one degree of freedom fewer than questions. If all questions agree it would have
    no width, and Wilson's interval with one trial a question takes its place. A single question has no interval.
    """
    numbers = np.asarray(values, dtype=float)
    names = {name: place for place, name in enumerate(dict.fromkeys(questions))}
    mean = clustered_mean(numbers, [names[name] for name in questions])
    lo, hi = mean.interval() if len(names) > 1 else (np.nan, np.nan)
    if len(names) > 1 and mean.se < 1e-9:
        width = 1 - lowest
        bounds = Rate((mean.value - lowest) / width * len(names), len(names)).interval()
        lo, hi = (lowest + width * bound for bound in bounds)
    return Share(mean.value, float(max(lo, lowest)), float(min(hi, 1.0)), len(numbers), len(names))
