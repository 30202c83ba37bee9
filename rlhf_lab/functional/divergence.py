"""Estimators of how far a policy is from its reference, in nats, for numpy arrays and torch tensors.

Write log r = log policy - log reference for a token, or for a whole answer, that was drawn from the policy. Averaged
over draws,

    k1, k3     are unbiased for KL(policy || reference),
    k2         is biased for it (25 % too large at half a nat),
    forward    is unbiased for KL(reference || policy),
    chi2       is unbiased for chi-squared(policy || reference).

k1, k2 and k3 are Schulman's (http://joschu.net/blog/kl-approx.html). All estimators are heavy-tailed where the two
models are far apart; `exact_kl` and `exact_chi2` sum over the whole vocabulary instead of over draws.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = TypeVar("Numbers", bound=Any)  # a numpy array or a torch tensor, of any shape


def _exp(x: Numbers) -> Numbers:
    return x.exp() if hasattr(x, "exp") else np.exp(x)


def _expm1(x: Numbers) -> Numbers:
    return x.expm1() if hasattr(x, "expm1") else np.expm1(x)


def k1(log_ratio: Numbers) -> Numbers:
    """Return log r, an unbiased estimator of KL(policy || reference) that can be negative."""
    return log_ratio


def k2(log_ratio: Numbers) -> Numbers:
    """Return (log r)^2 / 2, a biased estimator of KL(policy || reference); the x-axis of 2310.02743."""
    return log_ratio**2 / 2


def k3(log_ratio: Numbers) -> Numbers:
    """Return 1/r - 1 + log r >= 0, an unbiased estimator of KL(policy || reference) (2402.03300, Eq. 4)."""
    return _expm1(-log_ratio) + log_ratio


def forward(log_ratio: Numbers) -> Numbers:
    """Return 1 - (1 + log r) / r >= 0, an unbiased estimator of KL(reference || policy)."""
    return -_expm1(-log_ratio) - log_ratio * _exp(-log_ratio)


def chi2(log_ratio: Numbers) -> Numbers:
    """Return r + 1/r - 2 >= 0, an unbiased estimator of chi-squared(policy || reference) (2403.03185)."""
    return _expm1(log_ratio) + _expm1(-log_ratio)


def exact_kl(logps: Numbers, ref_logps: Numbers) -> Numbers:
    """Return KL(policy || reference) = sum p log(p / q) over the last dimension.

    Both arguments are (..., V) normalised log-probabilities; the result is (...).
    """
    total = (_exp(logps) * (logps - ref_logps)).sum(-1)
    return total.clip(0)  # rounding alone can make the sum negative


def exact_chi2(logps: Numbers, ref_logps: Numbers) -> Numbers:
    """Return chi-squared(policy || reference) = sum p (p / q - 1) over the last dimension; shapes as in `exact_kl`."""
    return (_exp(logps) * _expm1(logps - ref_logps)).sum(-1).clip(0)


def best_of_n_bound(n: ArrayLike) -> NDArray[np.float64]:
    """Return log n - (n - 1)/n, an upper bound on the KL of best-of-n that is exact without ties (2401.01879)."""
    ns = np.asarray(n, dtype=float)
    return np.log(ns) - (ns - 1) / ns
