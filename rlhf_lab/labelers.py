"""Who says which answer of a pair is better: the labeler's utility, then its noise."""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from rlhf_lab.config import Boltzmann, Flip, GoldArgmax, Labeler


@singledispatch
def prefers_first(labeler: Labeler, gold: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whether `labeler` prefers the first of each pair, (N,) bool, given the gold of both, (N, 2)."""
    raise TypeError(f"no labels from a {type(labeler).__name__}: register one with prefers_first.register")


@prefers_first.register
def _(labeler: GoldArgmax, gold: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The answer with the higher gold (2210.10760, section 2.2); a coin decides ties."""
    coin = rng.random(len(gold)) < 0.5
    return np.where(gold[:, 0] == gold[:, 1], coin, gold[:, 0] > gold[:, 1])


@prefers_first.register
def _(labeler: Boltzmann, gold: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bradley-Terry: P(first) = sigmoid((gold_0 - gold_1) / temperature)."""
    return rng.random(len(gold)) < 1 / (1 + np.exp((gold[:, 1] - gold[:, 0]) / labeler.temperature))


@prefers_first.register
def _(labeler: Flip, gold: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The better answer, with a share of the labels turned round (2310.02743, section 4)."""
    return prefers_first(GoldArgmax(), gold, rng) ^ (rng.random(len(gold)) < labeler.rate)
