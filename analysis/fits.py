"""The two forms of gold against d = sqrt(KL) (2210.10760, section 3.1), their peaks, and a bootstrap of
both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.resampling import Interval, Resample, conditional, original, percentile_interval, resamples

Floats = NDArray[np.float64]
Form = Literal["bon", "rl"]
Curve = Callable[
    [Resample], tuple[Floats, Floats]
]  # a resample's (d, gold), its replicates one after the other

FORMS: tuple[Form, ...] = ("bon", "rl")
FORMULA: dict[Form, str] = {"bon": "d (alpha - beta d)", "rl": "d (alpha - beta log d)"}
PARAMETERS = ("alpha", "beta", "peak_d", "peak_height")


class Fit(NamedTuple):
    """A least-squares fit of one form; `peak_d` and `peak_height` are NaN where the form has no interior
    maximum.
    """

    alpha: float  # gold SDs per nats^0.5
    beta: float  # gold SDs per nat (bon), per nats^0.5 (rl)
    cov: Floats  # (2, 2) of alpha and beta, as if points were independent: for weighting, never for a claim
    rmse: float  # gold SDs, of the unweighted residuals
    peak_d: float  # nats^0.5
    peak_height: float  # gold SDs


@dataclass(frozen=True)
class Bootstrap:
    """A fit and the 95 % percentile intervals of its parameters."""

    fit: Fit
    intervals: dict[str, Interval]  # of each of PARAMETERS; a peak beyond any d is inf
    n: int  # draws
    replicates: int
    conditional: bool  # on the replicates at hand: there are fewer than five


def fit(form: Form, d: ArrayLike, gold: ArrayLike, se: ArrayLike | None = None) -> Fit:
    """Least squares of gold on d over all points given, weighted by 1/se^2 if `se` is; `d`, `gold`, `se` are
    (K,).
    """
    x, y = np.asarray(d, dtype=float), np.asarray(gold, dtype=float)
    _check(form, x, y)
    z = -x * (x if form == "bon" else np.log(x))  # gold = alpha x + beta z
    weight = np.ones_like(y) if se is None else 1 / np.asarray(se, dtype=float) ** 2
    wx, wz = weight * x, weight * z
    xx, xz, zz = wx @ x, wx @ z, wz @ z
    inverse = np.array([[zz, -xz], [-xz, xx]]) / (xx * zz - xz**2)
    alpha, beta = (float(value) for value in inverse @ (wx @ y, wz @ y))
    residual = y - predict(form, alpha, beta, x)
    spread = 1.0 if se is not None else float(residual @ residual) / max(len(x) - 2, 1)
    rmse = float(np.sqrt(np.mean(residual**2)))
    return Fit(alpha, beta, spread * inverse, rmse, *peak(form, alpha, beta))


def predict(form: Form, alpha: float, beta: float, d: ArrayLike) -> Floats:
    """Gold of the fitted form at d > 0."""
    x = np.asarray(d, dtype=float)
    return x * (alpha - beta * (x if form == "bon" else np.log(x)))


def peak(form: Form, alpha: float, beta: float) -> tuple[float, float]:
    """Place and height of the interior maximum: alpha/2beta, alpha^2/4beta (bon); exp(alpha/beta - 1), beta d
    (rl).
    """
    if beta <= 0 or (form == "bon" and alpha <= 0):
        return float("nan"), float("nan")
    if form == "bon":
        return alpha / (2 * beta), alpha**2 / (4 * beta)
    with np.errstate(over="ignore"):
        place = float(np.exp(alpha / beta - 1))
    return place, beta * place


def bootstrap(form: Form, curve: Curve, replicates: int, rng: np.random.Generator, n: int) -> Bootstrap:
    """Refit on `n` resamples of `replicates` RM replicates and then of questions, all framings of one
    together.

    `curve` computes a resample's points from the ground up: normalisation, rescaling, KL and d.
    """
    best = fit(form, *curve(original(replicates)))
    draws = [fit(form, *curve(resample)) for resample in resamples(replicates, rng, n)]
    intervals = {name: percentile_interval([_orderable(draw, name) for draw in draws]) for name in PARAMETERS}
    return Bootstrap(best, intervals, n, replicates, conditional(replicates))


def _orderable(draw: Fit, name: str) -> float:
    """A parameter as a number to rank: a peak that is missing lies at 0 if the form only falls, else beyond
    any d.
    """
    value = float(getattr(draw, name))
    if not np.isnan(value):
        return value
    return 0.0 if draw.alpha <= 0 else float("inf")


def _check(form: Form, d: Floats, gold: Floats) -> None:
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    if d.shape != gold.shape or d.ndim != 1 or len(d) < 2:
        raise ValueError(
            f"a fit needs two points or more, d and gold alike, got d {d.shape} and gold {gold.shape}"
        )
    if not (np.isfinite(d).all() and np.isfinite(gold).all()):
        raise ValueError("d and gold must be finite: leave out the points that are missing")
    if form == "rl" and (d <= 0).any():
        raise ValueError(
            "d must be > 0 in the rl form, as log d is not finite at 0: leave out the initial policy"
        )
