"""Inference-time pessimism (2503.21878, Algorithm 1): expected value and KL at every n.

One of n answers is chosen, with chances proportional to relu(score - level) / beta, where the level makes the mean of
these weights 1. Scores are in SDs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analysis.best_of_n.estimator import Ints
from analysis.best_of_n.soft_best_of_n import divergence

Floats = NDArray[np.float64]

PARTITIONS = 4  # random partitions of the table into blocks of n, for values
DRAWN = 512  # other answers drawn for a prompt and an n in sets of n - 1, for chances
FEWEST_SETS = 4
SEED = 2503  # of blocks and sets, so that the same table gives the same numbers
PORTION = 16  # prompts in memory at once


def levels(ascending: Floats, beta: float) -> Floats:
    """Return the level at which relu(score - level) / beta has mean 1, (..., 1), of ascending scores (..., n)."""
    n = ascending.shape[-1]
    sums = np.cumsum(ascending[..., ::-1], axis=-1)
    sums -= n * beta
    sums /= np.arange(1, n + 1)  # the level if only the highest 1, 2, ... have weight
    return sums.max(axis=-1, keepdims=True)


def curves(score: Floats, values: Floats, n: Ints, beta: float, partitions: int = PARTITIONS) -> Floats:
    """Return the expected value of values (V, Q, N) under pessimism by `score` (Q, N), unbiased, (V, Q, K).

    It is a mean over disjoint random blocks of n of the N answers; one order of the answers serves every n.
    """
    rng = np.random.default_rng(SEED)
    total = np.zeros((len(score), len(values), len(n)))
    answers = np.broadcast_to(np.arange(score.shape[1], dtype=np.int32), score.shape)
    by_prompt = values.transpose(1, 0, 2)
    for _ in range(partitions):
        shuffled = rng.permuted(answers, axis=1)
        for start in range(0, len(score), PORTION):
            part = slice(start, start + PORTION)
            chance = _in_blocks(np.take_along_axis(score[part], shuffled[part], axis=1), n, beta)
            total[part] += np.take_along_axis(by_prompt[part], shuffled[part, None], axis=2) @ chance
    return total.transpose(1, 0, 2) / partitions


def _in_blocks(score: Floats, n: Ints, beta: float) -> Floats:
    """Return the chance of each of the scores (Q, N) in its block of n, 0 in the rest without a block, (Q, N, K)."""
    prompts, answers = score.shape
    chance = np.zeros((prompts, len(n), answers))
    for place, size in enumerate(map(int, n)):
        blocks = answers // size
        within = score[:, : blocks * size].reshape(prompts, blocks, size)
        weight = np.maximum(within - levels(np.sort(within, axis=2), beta), 0)
        chance[:, place, : blocks * size] = weight.reshape(prompts, -1) / (beta * size * blocks)
    return chance.transpose(0, 2, 1)


def kl(score: Floats, n: Ints, beta: float, drawn: int = DRAWN) -> Floats:
    """Return the KL of pessimism in nats, (Q, K), with the N answers to each prompt for the whole distribution.

    An answer's chance is its mean weight beside random sets of n - 1 others, `drawn` answers in all, divided by N. A
    finite number of sets adds to the KL a term of the order of its inverse, which the two halves of the sets take off.
    """
    rng = np.random.default_rng(SEED)
    ranked = np.sort(score, axis=1)
    parts = [
        np.stack([_kl(ranked[start : start + PORTION], int(size), beta, drawn, rng) for size in n], axis=1)
        for start in range(0, len(ranked), PORTION)
    ]
    return np.concatenate(parts)


def _kl(ranked: Floats, n: int, beta: float, drawn: int, rng: np.random.Generator) -> Floats:
    """Return the KL at one n, (Q,)."""
    prompts, answers = ranked.shape
    if n == 1:
        return np.zeros(prompts)
    half = max(drawn // (n - 1), FEWEST_SETS) // 2
    rank = np.sort(rng.integers(answers, size=(prompts, 2, half, n - 1), dtype=np.int32), axis=3)
    others = np.take_along_axis(ranked, rank.reshape(prompts, -1), axis=1).reshape(rank.shape)
    halves = mean_weights(ranked, others, beta)
    both = np.concatenate([halves, halves.mean(axis=1, keepdims=True)], axis=1)
    chance = both / both.sum(axis=2, keepdims=True)
    first, second, whole = divergence(chance.transpose(0, 2, 1)).T
    return 2 * whole - (first + second) / 2


def mean_weights(ranked: Floats, others: Floats, beta: float) -> Floats:
    """Return the mean weight of each of the scores (Q, N) beside sets of m `others` (Q, H, sets, m), (Q, H, N).

    Scores, and the others of a set, are in ascending order. With the highest c of a set above the level, the weight of
    a score s is (c s - their sum + n beta) / (c + 1) / beta for n = m + 1: a line in s up to where the level is the
    c-th highest, and the line of c - 1 beyond. It begins where it is 0, at the level of the set alone. So each set
    changes slopes and intercepts at few of the scores.
    """
    prompts, groups, sets, m = others.shape
    size = ranked.shape[1] + 1  # places among the scores of a prompt
    down, total = others[..., ::-1].reshape(-1, m), (m + 1) * beta  # (sets of all, m)
    c, sums = np.arange(1, m + 1), np.cumsum(down, axis=-1)
    alone = (sums - total) / c  # the level, if the highest c have weight
    first = alone.argmax(axis=-1)[:, None]
    start, under = (np.take_along_axis(table, first, axis=1) for table in (alone, sums))
    ends = down * (c + 1) - sums + total
    group = np.arange(len(down)) // sets
    highest = np.repeat(ranked[:, -1], groups * sets)[:, None]
    own, place = np.nonzero((ends > start) & (ends < highest))  # lines that end among the scores
    last, line = sums[own, place], place + 1
    slopes = np.concatenate([(first + 1) / (first + 2), -1 / (line * (line + 1))[:, None]])
    after = (total - last + down[own, place]) / line - (total - last) / (line + 1)
    intercepts = np.concatenate([(total - under) / (first + 2), after[:, None]])
    at = np.concatenate([np.arange(len(down)), own])
    where = _places(ranked, np.concatenate([start[:, 0], ends[own, place]]), at // (groups * sets))
    where += group[at] * size

    def summed(changes: Floats) -> Floats:
        """Return the sum over the lines that hold at each score, (Q, H, N)."""
        at_scores = np.asarray(np.bincount(where, changes[:, 0], prompts * groups * size), dtype=float)
        return np.cumsum(at_scores.reshape(prompts, groups, -1), axis=2)[:, :, :-1]

    return np.maximum(summed(slopes) * ranked[:, None] + summed(intercepts), 0) / (sets * beta)


def _places(ranked: Floats, asked: Floats, prompt: Ints) -> Ints:
    """Return how many of the ascending `ranked` (Q, N) of its `prompt` (J,) lie below each of `asked` (J,)."""
    low, high = ranked.min(), ranked.max()
    offset = np.arange(len(ranked)) * (high - low + 2)
    known, keys = (ranked + offset[:, None]).ravel(), asked.clip(low - 1, high + 1) + offset[prompt]
    return np.searchsorted(known, keys) - prompt * ranked.shape[1]
