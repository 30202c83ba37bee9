"""Expected value and KL of best-of-n and best-of-Poisson at every n, from N scored answers to each prompt.

The estimator is the mean over all subsets of n of the N answers of the value of the answer with the highest
score (2112.09332, appendix I; 2310.02743, Eq. 8). It is exact: nothing is resampled. Both rules depend on the
ranks of the scores only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from rlhf_lab.functional.intervals import cluster_means, mean_and_se

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PORTION = 1 << 17  # answers in double precision at a time, so that their scores stay in the cache
DROPPED_LOG_MASS = 40.0  # the lowest ranks are left out where their weights sum to less than exp(-40)
DROPPED_CHANCE = 1e-18  # numbers of answers with a smaller chance under Poisson are left out


class BestOfN(NamedTuple):
    """Expected value under best-of-n and its standard error over questions, each (len(n),)."""

    mean: Floats
    se: Floats


def expected_best_of_n(
    select: ArrayLike, value: ArrayLike, n: ArrayLike, cluster: ArrayLike | None = None
) -> BestOfN:
    """Return the mean over questions of the value of the answer with the highest `select` among n, and its SE.

    `select` and `value` (Q, N) are scores of N answers to each of Q prompts, `n` (K,) whole numbers in 1..N,
    and `cluster` (Q,) the question of each prompt; by default each prompt is its own question. Each question
    counts once.
    """
    return BestOfN(*mean_and_se(question_curves(select, value, n, cluster)))


def question_curves(
    select: ArrayLike, value: ArrayLike, n: ArrayLike, cluster: ArrayLike | None = None
) -> Floats:
    """Return the expected best-of-n `value` of each question, (C, K): a mean over its prompts, questions ascending."""
    chosen, scored = np.atleast_2d(select), np.atleast_2d(value)
    if chosen.shape != scored.shape:
        raise ValueError(
            f"select {chosen.shape} and value {scored.shape} must have one shape: they score the same answers"
        )
    curves = np.concatenate(
        [
            ranked_curves(tie_averaged(rank(chosen[part]), _scores(scored[part])), n)
            for part in portions(*chosen.shape)
        ]
    )
    return curves if cluster is None else cluster_means(curves, np.asarray(cluster))


def portions(prompts: int, answers: int) -> list[slice]:
    """Return slices of the prompts, which have `answers` each, of about `PORTION` answers."""
    size = max(PORTION // answers, 1)
    return [slice(start, start + size) for start in range(0, prompts, size)]


class Ranking(NamedTuple):
    """The order of N answers to each of Q prompts by one score, and its levels: groups of answers that tie."""

    order: Ints  # (Q, N) places among the Q * N answers, each prompt's lowest score first
    start: Ints  # (levels,) where each level begins among the Q * N ranked answers, prompt after prompt
    size: Ints  # (levels,) number of answers in each


def rank(select: ArrayLike, tolerance: float = 0.0) -> Ranking:
    """Return the ranking of scores `select` (Q, N); a score within `tolerance` of the next one below ties with
    it.

    Scores of one answer in two batches differ in the last digits, which must not break a tie.
    """
    scores = _scores(select)
    order = np.argsort(scores, axis=1)  # in whatever order within a level, whose answers are averaged
    order += np.arange(0, scores.size, scores.shape[1])[:, None]
    ranked = scores.take(order)
    opens = np.ones(ranked.shape, dtype=bool)
    np.greater(np.diff(ranked, axis=1), tolerance, out=opens[:, 1:])
    start = np.flatnonzero(opens)
    return Ranking(order, start, np.diff(start, append=opens.size))


def tie_averaged(ranking: Ranking, value: Floats) -> Floats:
    """Return `value` (Q, N) in ascending order of the ranking, where answers that tie have their mean.

    A tie is broken at random, so each of the tied ranks expects the mean of the tied values.
    """
    ranked = value.take(ranking.order).ravel()
    if len(ranking.size) < len(ranked):
        ranked = np.repeat(np.add.reduceat(ranked, ranking.start) / ranking.size, ranking.size)
    return ranked.reshape(value.shape)


def ranked_curves(ranked: Floats, n: ArrayLike) -> Floats:
    """Return the expected value of best-of-n, (Q, K), of values `ranked` (Q, N) in ascending order of the
    score.

    It is the sum over ranks i of C(i-1, n-1) / C(N, n) * ranked[:, i-1].
    """
    answers = ranked.shape[1]
    ns = _whole(n, answers)
    order = np.argsort(ns, kind="stable")
    curves = np.empty((len(ranked), len(ns)))
    for block in _blocks(ns[order]):
        columns = order[block]
        weights = _weights(answers, tuple(ns[columns].tolist()))
        curves[:, columns] = ranked[:, answers - len(weights) :] @ weights
    return curves


def poisson_curves(ranked: Floats, n: ArrayLike) -> Floats:
    """Return the expected value of the best of M ~ 1 + Poisson(n - 1) answers, (Q, K), for any `n` >= 1
    (2506.19248).

    It is the mean over M of `ranked_curves`. M above N counts as N; for N >= 128 and n <= N/2 that has a chance
    below 1e-12.
    """
    means = np.atleast_1d(np.asarray(n, dtype=float))
    return ranked @ _poisson_weights(ranked.shape[1], tuple(means.tolist()))


@lru_cache(maxsize=8)  # every portion of a table asks for the same
def _poisson_weights(answers: int, means: tuple[float, ...]) -> Floats:
    """Return the weight of each rank under 1 + Poisson(mean - 1) answers, (N, K)."""
    weights = np.zeros((answers, len(means)))
    for column, mean in enumerate(means):
        drawn, chance = _poisson(mean, answers)
        of_each = _rank_weights(answers, drawn)
        weights[answers - len(of_each) :, column] = of_each @ chance
    return weights


def _poisson(mean: float, answers: int) -> tuple[Ints, Floats]:
    """Return the numbers of answers M in 1..N that matter, and the chance of each under 1 + Poisson(mean - 1)."""
    drawn = np.arange(1, answers + 1)
    others = drawn - 1.0
    chance = np.exp(special.xlogy(others, mean - 1) - special.gammaln(drawn) - (mean - 1))
    chance[-1] += special.pdtrc(answers - 1, mean - 1)
    matter = chance > DROPPED_CHANCE
    return drawn[matter], chance[matter] / chance[matter].sum()


def ranking_kl(ranking: Ranking, n: ArrayLike) -> Floats:
    """Return the KL of best-of-n from the distribution of each prompt's levels in nats, (Q, K).

    A level with mass q_j and cumulative mass F_j wins with p_j = F_j^n - F_(j-1)^n, and KL = sum p_j log(p_j /
    q_j). The N answers are taken for the whole distribution, which holds for n <= N/4.
    """
    answers = ranking.order.shape[1]
    return level_kl(ranking, best_of_n_reach(np.arange(answers + 1) / answers, _whole(n, answers)))


def poisson_kl(ranking: Ranking, n: ArrayLike) -> Floats:
    """Return the KL of the best of 1 + Poisson(n - 1) answers in nats, (Q, K), in the same way."""
    answers = ranking.order.shape[1]
    return level_kl(ranking, poisson_reach(np.arange(answers + 1) / answers, np.atleast_1d(n)))


def best_of_n_reach(share: Floats, n: ArrayLike) -> Floats:
    """Return the chance under best-of-n that the chosen answer is among the lowest `share` F (S,): F^n, (S, K)."""
    return share[:, None] ** np.asarray(n)


def poisson_reach(share: Floats, n: ArrayLike) -> Floats:
    """Return the same chance under best-of-Poisson: E F^M = F exp((n - 1)(F - 1)), (S, K)."""
    return share[:, None] * np.exp((np.asarray(n, dtype=float) - 1) * (share[:, None] - 1))


def level_kl(ranking: Ranking, reach: Floats) -> Floats:
    """Return the KL in nats, (Q, K), of a rule whose choice is among the lowest k of N answers with chance
    reach[k].

    `reach` is (N + 1, K).
    """
    answers = ranking.order.shape[1]
    below = ranking.start % answers  # answers under the level, of its own prompt
    kind, under, held = _kinds(below, ranking.size, answers)
    won = reach[under + held] - reach[under]  # (pairs, K)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(won > 0, won * np.log(won / (held / answers)[:, None]), 0.0)
    first = np.flatnonzero(below == 0)  # level of each prompt
    return np.stack(
        [np.add.reduceat(column[kind], first) for column in np.ascontiguousarray(terms.T)], axis=1
    )


def _kinds(below: Ints, size: Ints, answers: int) -> tuple[Ints, Ints, Ints]:
    """Return the kind of each level, and how many answers lie below and in each kind.

    Most levels are one answer at some rank, so there are few kinds.
    """
    tied = size > 1
    pairs, which = np.unique(below[tied] * (answers + 1) + size[tied], return_inverse=True)
    kind = below.copy()
    kind[tied] = answers + which
    under, held = np.divmod(pairs, answers + 1)
    return kind, np.concatenate([np.arange(answers), under]), np.concatenate([np.ones(answers, int), held])


def grid(answers: int, points: int = 25) -> Ints:
    """Return about `points` whole numbers from 1 to N/2, even in log n, N/4 and N/2 among them.

    Raises ValueError where N is below 4.
    """
    largest = answers // 2
    if largest < 2:
        raise ValueError(
            f"{answers} answers a prompt are too few for a best-of-n curve: no n above N/2 is claimed"
        )
    even = np.rint(np.geomspace(1, largest, points)).astype(np.int64)
    return np.unique(np.concatenate([even, [max(answers // 4, 1), largest]]))


def _scores(scores: ArrayLike) -> Floats:
    table = np.atleast_2d(np.asarray(scores, dtype=float))
    if np.isnan(table).any():
        raise ValueError("a score is NaN: best-of-n needs every answer scored")
    return table


def _whole(n: ArrayLike, answers: int) -> Ints:
    ns = np.atleast_1d(np.asarray(n))
    if not np.issubdtype(ns.dtype, np.integer) or (ns < 1).any() or (ns > answers).any():
        raise ValueError(
            f"n must be whole numbers in 1..{answers}, the answers there are to each prompt, got {n}"
        )
    return ns.astype(np.int64)


def _blocks(ns: Ints) -> Iterator[slice]:
    """Yield slices of ascending n that need about as many ranks: none spans more than a fifth of its first n."""
    start = 0
    while start < len(ns):
        stop = int(np.searchsorted(ns, ns[start] * 1.2, side="right"))
        yield slice(start, stop)
        start = stop


@lru_cache(maxsize=64)  # of the curves of a few tables: every portion of one asks for the same
def _weights(answers: int, ns: tuple[int, ...]) -> Floats:
    return _rank_weights(answers, np.array(ns))


def _rank_weights(answers: int, ns: Ints) -> Floats:
    """Return C(i-1, n-1) / C(N, n) for the highest ranks i, which hold all but exp(-40) of the mass of any n,
    (ranks, K).

    The best of n has rank i or less with probability C(i, n) / C(N, n) <= (i/N)^n. Division by the sum removes
    the rounding of the log-gamma function (1e-11 at N = 12,600).
    """
    lowest = int(answers * np.exp(-DROPPED_LOG_MASS / ns.min())) + 1
    ranks = np.arange(lowest, answers + 1)[:, None]  # i, from 1
    log_factorial = _log_factorials(answers)
    spare = ranks - ns  # negative where fewer than n answers rank as low
    logs = log_factorial[ranks - 1] - log_factorial[np.maximum(spare, 0)]
    logs = np.where(spare >= 0, logs, -np.inf)
    weights = np.exp(logs - logs[-1])
    return weights / weights.sum(axis=0)


@lru_cache(maxsize=8)
def _log_factorials(largest: int) -> Floats:
    """Return log k! for k from 0 to `largest`."""
    return np.array([math.lgamma(k + 1) for k in range(largest + 1)])
