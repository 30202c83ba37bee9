"""Inference-time pessimism from one table of answers: one of n, with chances proportional to relu(score - level) / beta
where the level makes their mean 1 (2503.21878, Algorithm 1). Scores are in SDs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analysis.bestofn import Ints
from analysis.soft import divergence

Floats = NDArray[np.float64]

PARTITIONS = 4  # of the table into blocks of n, for values
SETS = 24  # of n - 1 other answers, for chances
NODES = 64  # ranks at which a chance is computed, the denser the higher; it is taken as straight between
SEED = 2503  # of blocks and sets: the same table gives the same numbers
PORTION = 64  # prompts in memory at once


def weights(ascending: Floats, beta: float) -> Floats:
    """(..., n): relu(score - level) / beta of mean 1, for scores (..., n) in ascending order."""
    n = ascending.shape[-1]
    down = ascending[..., ::-1]
    levels = (np.cumsum(down, axis=-1) - n * beta) / np.arange(
        1, n + 1
    )  # if the highest 1, 2, ... have weight
    return np.maximum(ascending - levels.max(axis=-1, keepdims=True), 0) / beta


def curves(score: Floats, values: Floats, n: Ints, beta: float, partitions: int = PARTITIONS) -> Floats:
    """(V, Q, K): expected values (V, Q, N) under pessimism by `score` (Q, N), unbiased.

    The mean over disjoint random blocks of n of the N answers; one order of the answers serves every n.
    """
    rng = np.random.default_rng(SEED)
    order = np.argsort(score, axis=1)
    ranked = np.take_along_axis(score, order, axis=1)
    chance = np.zeros((len(n), *score.shape))
    for _ in range(partitions):
        rows = np.broadcast_to(np.arange(score.shape[1], dtype=np.int32), score.shape)
        shuffled = rng.permuted(rows, axis=1)
        for place, size in enumerate(n):
            _add_blocks(chance[place], ranked, shuffled, int(size), beta)
    by_rank = np.take_along_axis(values, order[None], axis=2)
    return (by_rank.transpose(1, 0, 2) @ chance.transpose(1, 2, 0)).transpose(1, 0, 2) / partitions


def _add_blocks(chance: Floats, ranked: Floats, shuffled: NDArray[np.int32], n: int, beta: float) -> None:
    """Add to `chance` (Q, N) what each of the `ranked` scores has in its block of n of the `shuffled` ranks."""
    prompts, answers = ranked.shape
    blocks = answers // n
    rank = np.sort(shuffled[:, : blocks * n].reshape(prompts, blocks, n), axis=2)
    rank += np.arange(0, ranked.size, answers, dtype=np.int32)[:, None, None]
    chance.reshape(-1)[rank] += weights(ranked.take(rank), beta) / (n * blocks)


def kl(score: Floats, n: Ints, beta: float, sets: int = SETS) -> Floats:
    """(Q, K) nats of pessimism with the N answers to each prompt for the whole distribution.

    From `sets` random sets of n - 1 others an answer's chance is its mean weight beside them over N; what a finite
    number of sets adds to KL, which goes as one over it, is taken off by the two halves of them.
    """
    rng = np.random.default_rng(SEED)
    ranked = np.sort(score, axis=1)
    columns = []
    for size in n:
        parts = [
            _kl(ranked[start : start + PORTION], int(size), beta, sets, rng)
            for start in range(0, len(ranked), PORTION)
        ]
        columns.append(np.concatenate(parts))
    return np.stack(columns, axis=1)


def _kl(ranked: Floats, n: int, beta: float, sets: int, rng: np.random.Generator) -> Floats:
    """(Q,) of one n."""
    if n == 1:
        return np.zeros(len(ranked))
    answers = ranked.shape[1]
    places = nodes(answers)
    found = weight_beside(ranked[:, places], _others(ranked, n - 1, sets, rng), beta)  # (Q, sets, nodes)
    halves = [found[:, : sets // 2].mean(axis=1), found[:, sets // 2 :].mean(axis=1)]
    both = np.stack([*halves, found.mean(axis=1)], axis=2)  # (Q, nodes, 3)
    chance = _between(both, places, ranked)
    first, second, whole = divergence(chance / chance.sum(axis=1, keepdims=True)).T
    return 2 * whole - (first + second) / 2


def nodes(answers: int) -> Ints:
    """Ranks from 0 to N - 1, every one at the top and fewer and fewer below."""
    from_top = np.rint(np.geomspace(1, answers, NODES)).astype(np.int64)
    return np.unique(answers - from_top)


def _between(found: Floats, places: Ints, ranked: Floats) -> Floats:
    """(Q, N, ...): what is known at ranks `places`, straight in the score between."""
    rank = np.arange(ranked.shape[1])
    after = np.searchsorted(places, rank).clip(1)
    low, high = ranked[:, places[after - 1]], ranked[:, places[after]]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(high > low, (ranked - low) / (high - low), 1.0)[:, :, None]
    return found[:, after - 1] * (1 - share) + found[:, after] * share


def _others(ranked: Floats, count: int, sets: int, rng: np.random.Generator) -> Floats:
    """(Q, sets, count): random answers to each prompt with replacement, in ascending order."""
    prompts, answers = ranked.shape
    spaces = np.cumsum(rng.standard_exponential((prompts, sets, count + 1)), axis=2)
    uniform = spaces[:, :, :-1] / spaces[:, :, -1:]  # in order already
    rank = (uniform * answers).astype(np.int64) + np.arange(0, ranked.size, answers)[:, None, None]
    return ranked.take(rank)


def weight_beside(score: Floats, others: Floats, beta: float) -> Floats:
    """(Q, sets, J): the weight of each answer with `score` (Q, J) beside each set of m `others` (Q, sets, m),
    ascending.

    With the highest c of the others above the level, score - level = (c score - their sum + n beta) / (c + 1) for
    n = m + 1; c goes down as the score goes up, at the scores whose level is one of the others.
    """
    prompts, sets, m = others.shape
    above = np.cumsum(others[..., ::-1], axis=-1)[..., ::-1] - others  # sum of those above each
    count = np.arange(m - 1, -1, -1)
    turns = others * (count + 1) - above + (m + 1) * beta  # the score whose level is there; ascending
    sums = np.concatenate(
        [above[..., :1] + others[..., :1], above], axis=-1
    )  # (Q, sets, m + 1) of c = m .. 0
    at = _places(turns.reshape(-1, m), np.repeat(score, sets, axis=0)).reshape(prompts, sets, -1)
    c = m - at
    gap = (c * score[:, None] - np.take_along_axis(sums, at, axis=2) + (m + 1) * beta) / (c + 1)
    return np.maximum(gap, 0) / beta


def _places(knots: Floats, asked: Floats) -> Ints:
    """(R, J): how many of `knots` (R, m), ascending, lie below each of `asked` (R, J) in the same row."""
    low = min(knots.min(), asked.min())
    rows = np.arange(len(knots))[:, None]
    offset = rows * (max(knots.max(), asked.max()) - low + 1)
    found = np.searchsorted((knots + offset).ravel(), (asked + offset).ravel())
    return found.reshape(asked.shape) - rows * knots.shape[1]
