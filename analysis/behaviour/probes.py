"""Linear probes: does a number read before the answer begins tell the answers that do harm from the others?

A ridge-penalised logistic regression, fitted on some questions and read on the others; its AUROC in draws of questions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata

from analysis.statistics.resampling import Resample

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FOLDS = 5
RIDGE = 1.0  # times half the squared norm of the weights on standardised features, beside the summed log-loss


def fitted(features: Floats, bad: Bools, ridge: float = RIDGE) -> Floats:
    """(F + 1,): weights of standardised features (N, F), and the intercept, which is not penalised."""
    sign = np.where(bad, 1.0, -1.0)
    design = np.column_stack([features, np.ones(len(features))])

    def loss(weights: Floats) -> tuple[float, Floats]:
        """The penalised log-loss of weights and its gradient."""
        margin = sign * (design @ weights)
        penalised = np.append(weights[:-1], 0.0)
        gradient = -design.T @ (sign * expit(-margin)) + ridge * penalised
        return float(np.logaddexp(0, -margin).sum() + ridge * (penalised**2).sum() / 2), gradient

    return minimize(loss, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B").x


def scores(features: Floats, bad: Bools, question: NDArray[np.int64], seed: int = 0) -> Floats:
    """(N,): log-odds of each answer, up to a constant, by a probe that saw none of its question.

    NaN where the answers that the probe saw are all alike.
    """
    names, member = np.unique(question, return_inverse=True)
    fold = np.random.default_rng(seed).permutation(len(names))[member] % FOLDS
    scores = np.full(len(bad), np.nan)
    for held_out in range(FOLDS):
        train, test = fold != held_out, fold == held_out
        if bad[train].all() or not bad[train].any():
            continue
        mean, sd = features[train].mean(axis=0), features[train].std(axis=0)
        scaled = (features - mean) / np.where(sd > 0, sd, 1.0)
        weights = fitted(scaled[train], bad[train])
        # Folds are ranked together, so the intercept, their level, is left out.
        scores[test] = scaled[test] @ weights[:-1]
    return scores


def auroc(score: Floats, bad: Bools, weights: Floats | None = None) -> float:
    """Return the chance that a bad answer has a higher score than a good one, ties half.

    Each answer counts `weights` (N,) times; NaN where there are no bad answers or no good ones.
    """
    known = np.isfinite(score)
    count = np.ones(len(score)) if weights is None else weights
    score, bad, count = score[known], bad[known], count[known]
    total = count[bad].sum(), count[~bad].sum()
    if not all(total):
        return float("nan")
    place = rankdata(score, method="dense").astype(int) - 1
    worse, better = (np.bincount(place, count * side, place.max() + 1) for side in (bad, ~bad))
    below = np.cumsum(better) - better
    return float((worse * (below + better / 2)).sum() / (total[0] * total[1]))


def drawn(
    score: Floats,
    bad: Bools,
    question: NDArray[np.int64],
    draws: Sequence[Resample],
    questions: NDArray[np.int64],
) -> Floats:
    """(B,): the AUROC in every draw of `questions` (C,), those of all replicates, ascending."""
    place = np.searchsorted(questions, question)
    return np.array([auroc(score, bad, draw.questions(len(questions))[place]) for draw in draws])


def bags(texts: Sequence[str]) -> Floats:
    """(N, W): how often each word stands in each text."""
    words = sorted({word for text in texts for word in text.split()})
    number = {word: place for place, word in enumerate(words)}
    counts = np.zeros((len(texts), len(words)))
    for row, text in enumerate(texts):
        for word in text.split():
            counts[row, number[word]] += 1
    return counts
