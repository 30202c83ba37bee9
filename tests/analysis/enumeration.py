"""Exact results of rules of selection, by enumeration of all draws of n from a handful of answers."""

from collections.abc import Callable
from itertools import combinations, product

import numpy as np

Choice = Callable[[np.ndarray], np.ndarray]  # scores (n,) -> chances (n,)


def highest(scores: np.ndarray) -> np.ndarray:
    best = scores == scores.max()
    return best / best.sum()


def softmax(inverse_temperature: float) -> Choice:
    def choice(scores: np.ndarray) -> np.ndarray:
        raised = np.exp(inverse_temperature * (scores - scores.max()))
        return raised / raised.sum()

    return choice


def pessimist(beta: float) -> Choice:
    """Return the chances of best-of-n with pessimism; the level is found by bisection."""

    def choice(scores: np.ndarray) -> np.ndarray:
        low, high = scores.min() - 2 * beta, scores.max()
        for _ in range(80):
            level = (low + high) / 2
            too_much = np.maximum(scores - level, 0).sum() > beta * len(scores)
            low, high = (level, high) if too_much else (low, level)
        weight = np.maximum(scores - level, 0) / beta
        return weight / len(scores)

    return choice


def chances(scores: np.ndarray, n: int, choice: Choice) -> np.ndarray:
    """Return the chance (N,) of each answer when n are drawn with replacement and one is chosen."""
    total = np.zeros(len(scores))
    for drawn in product(range(len(scores)), repeat=n):
        np.add.at(total, list(drawn), choice(scores[list(drawn)]) / len(scores) ** n)
    return total


def expected(scores: np.ndarray, values: np.ndarray, n: int, choice: Choice) -> float:
    """Return the mean value of the chosen answer over all subsets of n answers."""
    subsets = [list(subset) for subset in combinations(range(len(scores)), n)]
    return float(np.mean([choice(scores[subset]) @ values[subset] for subset in subsets]))


def kl(chance: np.ndarray) -> float:
    """Return the KL divergence, in nats, of chances (N,) from equal chances."""
    some = chance[chance > 0]
    return float((some * np.log(some * len(chance))).sum())
