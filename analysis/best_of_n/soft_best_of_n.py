"""Soft best-of-n (2506.19248, SBoN): expected value and KL at every n.

One of n answers is chosen, with chances proportional to exp(inverse temperature x score). Scores are in SDs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.best_of_n import estimator

Floats = NDArray[np.float64]

DRAWS = 8  # of Gumbel noise
SEED = 2025  # of the noise, so that the same table gives the same numbers
ROOTS = 2  # steps of log t after which t is 3 times as large
STEP = float(np.log(3)) / ROOTS  # the trapezoid rule errs by some exp(-pi^2 / STEP) = 2e-8 of a chance
CUBES = 5  # one after the other, from each exponential: they raise its rounding error to 243 times, 5e-14
BEFORE, BEYOND = 21.0, 4.0  # log t before and after which the integrand is nothing: e^-21, exp(-e^4)
FADED = 1e-300  # all but 0
HARDEST = 50.0  # inverse temperature, per SD
WIDEST = 600.0  # log of the highest over the lowest weight: answers 12 SDs below the best and more are alike
PORTION = 8  # prompts in memory at once


def curves(score: Floats, values: Floats, n: ArrayLike, inverse_temperature: float) -> Floats:
    """Return the expected value of values (V, Q, N) under soft best-of-n by `score` (Q, N), unbiased, (V, Q, K).

    The highest of inverse_temperature x score + Gumbel noise among n answers is a soft choice among them, so
    each draw of the noise goes through the estimator of best-of-n.
    """
    rng = np.random.default_rng(SEED)
    ranked = np.zeros(values.shape)
    for _ in range(DRAWS):
        ranking = estimator.rank(inverse_temperature * score + rng.gumbel(size=score.shape))
        for total, value in zip(ranked, values, strict=True):
            total += estimator.tie_averaged(ranking, value)
    expected = estimator.ranked_curves(ranked.reshape(-1, score.shape[1]), n)  # linear, so once for all draws
    return (expected / DRAWS).reshape(len(values), len(score), -1)


def kl(score: Floats, n: ArrayLike, inverse_temperature: float) -> Floats:
    """Return the KL of soft best-of-n in nats, (Q, K), with the N answers to each prompt for the whole
    distribution.
    """
    return np.concatenate(
        [divergence(chances(part, n, inverse_temperature)) for part in _portions(score)], axis=0
    )


def divergence(chance: Floats) -> Floats:
    """Return the KL in nats, (Q, K), of chances (Q, N, K) from equal chances of the N answers."""
    return (chance * np.log(np.maximum(chance * chance.shape[1], FADED))).sum(axis=1)


def chances(score: Floats, n: ArrayLike, inverse_temperature: float) -> Floats:
    """Return the chance of each answer, (Q, N, K), when n are drawn with replacement and one is chosen softly.

    With a = exp(inverse_temperature x score) and 1/N the share of each answer, an answer's chance is n a/N
    times the integral of exp(-t a) phi(t)^(n-1) dt, where phi(t) = mean exp(-t a): 1/sum(a) is the integral of
    exp(-t sum(a)).
    """
    ns = np.atleast_1d(np.asarray(n, dtype=float))
    nodes = Nodes.of(score, inverse_temperature, ns.max())
    chance = nodes.fade.transpose(0, 2, 1) @ nodes.masses(ns) * nodes.a[:, :, None]
    return chance / chance.sum(axis=1, keepdims=True)  # the sum is 1 up to the error of the quadrature


def response(score: Floats, value: Floats, n: int, inverse_temperature: float) -> tuple[Floats, Floats]:
    """Return the expected `value` (Q, N) under soft best-of-n and its derivative in the inverse temperature, each
    (Q,).

    The derivative is E[value psi] with psi the score function of the rule's strength (2506.19248).
    """
    parts = [
        _response(scores, values, n, inverse_temperature)
        for scores, values in zip(_portions(score), _portions(value), strict=True)
    ]
    expected, slope = (np.concatenate(column) for column in zip(*parts, strict=True))
    return expected, slope


def _response(score: Floats, value: Floats, n: int, strength: float) -> tuple[Floats, Floats]:
    nodes = Nodes.of(score, strength, n)
    a, t = nodes.a, nodes.t
    r = score - score.max(axis=1, keepdims=True)  # a constant of a prompt changes no chance
    columns = np.stack([a * value, r * a * value, r * a**2 * value, a * r, a], axis=2)
    moved = nodes.fade @ columns  # (Q, S, 5)
    weight = nodes.masses(np.array([float(n)]))[:, :, 0]
    drift = -t * moved[:, :, 3] / (nodes.phi * a.shape[1])  # d log phi / d strength
    total = (weight * moved[:, :, 4]).sum(axis=1)
    expected = (weight * moved[:, :, 0]).sum(axis=1) / total
    terms = moved[:, :, 1] - t * moved[:, :, 2] + (n - 1) * drift * moved[:, :, 0]
    return expected, (weight * terms).sum(axis=1) / total


def _portions(table: Floats) -> list[Floats]:
    return [table[start : start + PORTION] for start in range(0, len(table), PORTION)]


class Nodes:
    """The integrand of `chances` at points evenly spaced in log t."""

    def __init__(self, a: Floats, t: Floats) -> None:
        self.a = a  # (Q, N) the highest of a prompt is 1
        self.t = t  # (S,)
        self.fade = _fade(a, t)  # (Q, S, N)
        self.phi = np.maximum(self.fade @ np.full(a.shape[1], 1 / a.shape[1]), FADED)  # (Q, S)

    @classmethod
    def of(cls, score: Floats, strength: float, largest: float) -> Nodes:
        """Return nodes from where nothing has faded under `largest` answers to where the lowest score has.

        Raises ValueError at a strength so high that the rule is best-of-n.
        """
        if strength > HARDEST:
            raise ValueError(
                f"soft best-of-n at an inverse temperature of {strength:g} per SD is best-of-n: use that"
            )
        log_a = np.maximum(strength * (score - score.max(axis=1, keepdims=True)), -WIDEST)
        first, last = -BEFORE - np.log(largest), BEYOND - log_a.min() + STEP
        block = ROOTS * (CUBES + 1)
        steps = np.arange(block * int(np.ceil((last - first) / (STEP * block))))
        return cls(np.exp(log_a), np.exp(first + STEP * steps))

    def masses(self, n: Floats) -> Floats:
        """Return n/N t phi(t)^(n-1) dlog t, (Q, S, K)."""
        powers = np.exp(np.log(self.phi)[:, :, None] * (n - 1))
        return powers * (self.t * STEP / self.a.shape[1])[:, None] * n


def _fade(a: Floats, t: Floats) -> Floats:
    """Return exp(-t a), (Q, S, N); t is 3 times as large every `ROOTS` nodes, and exp(-3 t a) is a cube."""
    fade = np.empty((len(a), len(t) // (ROOTS * (CUBES + 1)), CUBES + 1, ROOTS, a.shape[1]))
    starts = t.reshape(fade.shape[1:4])[:, 0]  # (blocks, ROOTS)
    np.exp(-starts[:, :, None] * a[:, None, None, :], out=fade[:, :, 0])
    for cube in range(CUBES):
        before = fade[:, :, cube]
        np.multiply(before * before, before, out=fade[:, :, cube + 1])
    return fade.reshape(len(a), len(t), -1)
