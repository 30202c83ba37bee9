"""Worlds where it is known whether gold turns over under selection by the proxy.

In the nulls it does not turn and the test of claim 1 must not say that it does; W1 turns by construction.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from analysis.worlds.scores import Size, World, questions

Floats = NDArray[np.float64]


def gold_itself(rng: np.random.Generator, size: Size) -> World:
    """Selection by gold: it rises and flattens at its bound."""
    gold, question = rubric_gold(rng, size)
    return World(gold, gold, question)


def plateau(rng: np.random.Generator, size: Size) -> World:
    """A proxy that follows gold up to its median and is small noise above it."""
    gold, question = rubric_gold(rng, size)
    return World(np.minimum(gold, np.median(gold)) + rng.normal(0, 0.1, gold.shape), gold, question)


def gaussian_noise(rng: np.random.Generator, size: Size) -> World:
    """Gold plus noise twice as wide: regressional Goodhart alone is monotone (2210.10760, section 4.2.1)."""
    gold, question = rubric_gold(rng, size)
    return World(gold + rng.normal(0, 2 * gold.std(), gold.shape), gold, question)


def independent(rng: np.random.Generator, size: Size) -> World:
    """A proxy that knows nothing of gold."""
    gold, question = rubric_gold(rng, size)
    return World(rng.normal(size=gold.shape), gold, question)


def w1(rng: np.random.Generator, size: Size, rho: float = 0.3, c: float = 0.12) -> World:
    """Proxy p ~ N(0, 1), gold rho p - c (p^2 - 1) and noise and a question's own level: best-of-n turns for c
    > 0.
    """
    question = questions(size)
    proxy = rng.normal(size=(size.prompts, size.answers))
    level = rng.normal(size=size.questions)[question][:, None]
    noise = rng.normal(size=proxy.shape)
    return World(proxy, rho * proxy - c * (proxy**2 - 1) + level + noise, question)


def rubric_gold(rng: np.random.Generator, size: Size) -> tuple[Floats, NDArray[np.int64]]:
    """Gold (Q, N) like the embedded task's, and the question of each prompt (Q,): bounded, a mixture, full of
    ties.

    The policy knows some questions and not others: its chance of a right claim is Beta(0.7, 0.7) over
    questions.
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
TURNING: dict[str, Callable[[np.random.Generator, Size], World]] = {"world W1, c > 0": w1}
