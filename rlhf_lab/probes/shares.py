"""Shares with intervals over few questions."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rlhf_lab.functional.intervals import clustered_mean, wilson

HOW = (
    "95 % intervals: Student's t over questions (df = questions - 1, SE clustered by question); Wilson's with a trial "
    "a question where no question differs from another"
)


class Share(NamedTuple):
    """A mean over items with its 95 % interval over questions; NaN where there is none."""

    value: float
    lo: float
    hi: float
    items: int
    questions: int

    def __str__(self) -> str:
        """With its interval, to three digits."""
        if not self.items:
            return "-"
        within = "" if np.isnan(self.lo) else f" [{self.lo:.3f}, {self.hi:.3f}]"
        return f"{self.value:.3f}{within}"


def share(values: ArrayLike, questions: Sequence[Hashable], lowest: float = 0.0) -> Share:
    """The mean of `values` (N,) in [lowest, 1], each counted once, the question (N,) its cluster.

    The interval is Student's t with as many degrees of freedom as questions less one. It would have no width where all
    questions agree: there it is Wilson's of as many trials as there are questions. One question has none.
    """
    numbers = np.asarray(values, dtype=float)
    names = {name: place for place, name in enumerate(dict.fromkeys(questions))}
    mean = clustered_mean(numbers, [names[name] for name in questions])
    lo, hi = mean.interval() if len(names) > 1 else (np.nan, np.nan)
    if len(names) > 1 and mean.se < 1e-9:
        width = 1 - lowest
        bounds = wilson((mean.value - lowest) / width * len(names), len(names))
        lo, hi = (lowest + width * bound for bound in bounds)
    return Share(mean.value, float(max(lo, lowest)), float(min(hi, 1.0)), len(numbers), len(names))
