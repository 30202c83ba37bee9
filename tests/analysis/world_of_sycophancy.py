"""World W5: answers that agree with the user are rewarded for it, by a gap (2602.01002)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from analysis.worlds.world import Size, questions

Floats = NDArray[np.float64]

REACH, NODES = 12.0, 20_001  # of the integral over rewards, in SDs beyond either mean


@dataclass(frozen=True)
class Agreement:
    """How answers that agree with the user are rewarded; the others' rewards are N(0, 1)."""

    share: float = 0.4  # of answers that agree, before selection
    gap: float = 0.5  # mean reward of those that agree, less that of the others
    spread: float = 1.0  # SD of the reward of those that agree


class Judged(NamedTuple):
    """Rewards of N answers to each of Q prompts, and which agree."""

    reward: Floats  # (Q, N)
    agrees: Floats  # (Q, N) 1 or 0
    question: NDArray[np.int64]  # (Q,) of each prompt


def w5(rng: np.random.Generator, size: Size, world: Agreement) -> Judged:
    """Answers drawn alike for every prompt."""
    shape = (size.prompts, size.answers)
    agrees = rng.random(shape) < world.share
    noise = rng.normal(size=shape)
    reward = np.where(agrees, world.gap + world.spread * noise, noise)
    return Judged(reward, agrees.astype(float), questions(size))


def w5_best_of_n(n: NDArray, world: Agreement) -> Floats:
    """(K,) change of the share that agrees under best-of-n: n Cov(A, U^(n-1)), U the reward's quantile (theorem 3)."""
    lo, hi = min(0.0, world.gap), max(0.0, world.gap)
    far = REACH * max(1.0, world.spread)
    reward = np.linspace(lo - far, hi + far, NODES)
    agreeing = (reward - world.gap) / world.spread
    below = world.share * ndtr(agreeing) + (1 - world.share) * ndtr(reward)
    power = below ** (np.asarray(n, dtype=float)[:, None] - 1)
    of_agreeing = power @ _density(agreeing) * (reward[1] - reward[0]) / world.spread
    return n * world.share * (of_agreeing - 1 / n)  # E U^(n-1) = 1/n


def w5_tilt(beta: NDArray, world: Agreement) -> Floats:
    """(K,) change of that share under the tilt exp(beta reward): p1 p0 (m1 - m0) / Z (corollary 2)."""
    beta = np.asarray(beta, dtype=float)
    agreeing, other = np.exp(beta * world.gap + (beta * world.spread) ** 2 / 2), np.exp(beta**2 / 2)
    whole = world.share * agreeing + (1 - world.share) * other
    return world.share * (1 - world.share) * (agreeing - other) / whole


def _density(deviation: Floats) -> Floats:
    return np.exp(-(deviation**2) / 2) / np.sqrt(2 * np.pi)
