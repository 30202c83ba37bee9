"""How far a policy is from its reference, in nats: the estimators and the formulas, for numpy arrays and torch tensors.

`log_ratio` is log policy - log reference of what was drawn from the policy: tokens, or whole answers. Averaged over
them k1 and k3 are unbiased for KL(policy || reference) and k2 is not (0.25 of it too large at half a nat); the three
are Schulman's, at the token. `chi2` and `forward` are in the same way unbiased, never negative, for
chi-squared(policy || reference) and KL(reference || policy). All are heavy-tailed where the two are far apart:
`exact_kl` and `exact_chi2` sum over a whole distribution instead.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = TypeVar("Numbers", bound=Any)  # a numpy array or a torch tensor, of any shape
Floats = NDArray[np.float64]


class Estimate(NamedTuple):
    """A mean and its standard error over `n` independent units."""

    mean: float
    se: float  # NaN for one unit
    n: int


def _exp(x: Numbers) -> Numbers:
    return x.exp() if hasattr(x, "exp") else np.exp(x)


def _expm1(x: Numbers) -> Numbers:
    return x.expm1() if hasattr(x, "expm1") else np.expm1(x)


def k1(log_ratio: Numbers) -> Numbers:
    """The log-ratio itself: unbiased, of either sign."""
    return log_ratio


def k2(log_ratio: Numbers) -> Numbers:
    """Half its square: biased, never negative; the x-axis of 2310.02743."""
    return log_ratio**2 / 2


def k3(log_ratio: Numbers) -> Numbers:
    """(1/r - 1) + log r for r = policy / reference: unbiased, never negative; GRPO's penalty."""
    return _expm1(-log_ratio) + log_ratio


def forward(log_ratio: Numbers) -> Numbers:
    """1 - (1 + log r) / r: unbiased for KL(reference || policy), never negative."""
    return -_expm1(-log_ratio) - log_ratio * _exp(-log_ratio)


def chi2(log_ratio: Numbers) -> Numbers:
    """R + 1/r - 2: unbiased for chi-squared(policy || reference), never negative (2403.03185)."""
    return _expm1(log_ratio) + _expm1(-log_ratio)


def exact_kl(logps: Numbers, ref_logps: Numbers) -> Numbers:
    """KL(policy || reference) of distributions over the last dimension, from normalised log-probabilities; >= 0."""
    total = (_exp(logps) * (logps - ref_logps)).sum(-1)
    return total.clip(0)  # rounding alone can make the sum negative


def exact_chi2(logps: Numbers, ref_logps: Numbers) -> Numbers:
    """Chi-squared(policy || reference) of distributions over the last dimension; >= 0."""
    return (_exp(logps) * _expm1(logps - ref_logps)).sum(-1).clip(0)


def estimate(per_answer: ArrayLike, cluster: ArrayLike | None = None) -> Estimate:
    """The mean of numbers (N,) of answers and its standard error; answers of one `cluster` (N,) are one unit.

    Each cluster counts once, as a question does on every axis.
    """
    values = np.asarray(per_answer, dtype=np.float64)
    if cluster is not None:
        _, member = np.unique(np.asarray(cluster), return_inverse=True)
        values = np.bincount(member, weights=values) / np.bincount(member)
    n = len(values)
    se = float(values.std(ddof=1)) / n**0.5 if n > 1 else float("nan")
    return Estimate(float(values.mean()), se, n)


# --- best-of-n ----------------------------------------------------------------------------------------------


def best_of_n_bound(n: ArrayLike) -> Floats:
    """Log n - (n - 1)/n: an upper bound on the KL of best-of-n, reached only without ties (2401.01879)."""
    ns = np.asarray(n, dtype=float)
    return np.log(ns) - (ns - 1) / ns
