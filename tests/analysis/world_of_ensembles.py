"""World W4: reward models whose errors are shared or their own, by a dial (2310.02743 against 2312.09244)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.worlds.independent_error import Distribution, student
from analysis.worlds.world import Size, questions

Floats = NDArray[np.float64]

ERROR = student(3)  # heavy, so that selection by one member is taken in by its error; SD that of gold


class Members(NamedTuple):
    """Rewards of M reward models of N answers to each of Q prompts."""

    rewards: Floats  # (M, Q, N)
    gold: Floats  # (Q, N)
    question: NDArray[np.int64]  # (Q,) of each prompt


def w4(
    rng: np.random.Generator, size: Size, shared: float, members: int = 5, error: Distribution = ERROR
) -> Members:
    """Each member rewards gold ~ N(0, 1) plus sqrt(shared) of one error and sqrt(1 - shared) of its own.

    The variance of a member's error is the same whatever `shared` (0 to 1) is; at 1 all members are one.
    """
    shape = (size.prompts, size.answers)
    gold = rng.normal(size=shape)
    common = error.rvs(size=shape, random_state=rng)
    own = error.rvs(size=(members, *shape), random_state=rng)
    return Members(gold + np.sqrt(shared) * common + np.sqrt(1 - shared) * own, gold, questions(size))
