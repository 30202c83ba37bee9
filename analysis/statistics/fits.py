"""The two forms of gold against d = sqrt(KL) (2210.10760, section 3.1): least-squares fits, peaks and their bootstrap.

Best-of-n: gold = d (alpha - beta d). RL: gold = d (alpha - beta log d).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.mean_curves import check_ses
from analysis.statistics.resampling import Resample, kept, original, percentile_interval, resamples
from rlhf_lab.functional.intervals import Interval

Floats = NDArray[np.float64]
Form = Literal["bon", "rl"]
# A draw's (d, gold), its replicates one after the other.
Curve = Callable[[Resample], tuple[Floats, Floats]]

FORMS: tuple[Form, ...] = ("bon", "rl")
FORMULA: dict[Form, str] = {"bon": "d (alpha - beta d)", "rl": "d (alpha - beta log d)"}
FEWEST_POINTS = 4  # of a fit of two parameters
PARAMETERS = ("alpha", "beta", "peak_d", "peak_height")


class Fit(NamedTuple):
    """A least-squares fit of one form; the peak is NaN where the form has no interior maximum."""

    alpha: float  # gold SDs per nats^0.5
    beta: float  # gold SDs per nat (bon), per nats^0.5 (rl)
    rmse: float  # gold SDs, of the unweighted residuals
    peak_d: float  # nats^0.5
    peak_height: float  # gold SDs


class Shared(NamedTuple):
    """A least-squares fit of one form to S curves that share one alpha and have a beta each."""

    alpha: float
    betas: Floats  # (S,)
    rmse: float  # gold SDs, over the points of all curves


class Fits(NamedTuple):
    """Least-squares fits of one form to B sets of points; each column is (B,)."""

    alpha: Floats
    beta: Floats
    rmse: Floats


class SharedFits(NamedTuple):
    """B fits of one form to S curves that share one alpha and have a beta each."""

    alpha: Floats  # (B,)
    betas: Floats  # (S, B)
    rmse: Floats  # (B,)


@dataclass(frozen=True)
class Bootstrap:
    """A fit and the 95 % percentile intervals of its parameters."""

    fit: Fit
    intervals: dict[str, Interval]  # of each of PARAMETERS; a peak beyond any d is inf
    n: int  # draws
    replicates: int
    conditional: bool  # on the replicates at hand: there are fewer than five


def fit(form: Form, d: ArrayLike, gold: ArrayLike, se: ArrayLike | None = None) -> Fit:
    """Return the least-squares fit of gold (K,) on d (K,), weighted by 1 / `se` (K,) squared where SEs are given.

    Raises ValueError for an unknown form, fewer than two different d, points that are not finite, d <= 0 in the RL
    form, or SEs that are not above 0.
    """
    x, y = np.asarray(d, dtype=float), np.asarray(gold, dtype=float)
    _check(form, x, y)
    if se is None:
        alpha, beta, rmse = (float(column[0]) for column in fit_each(form, x[None], y[None]))
        return Fit(alpha, beta, rmse, *peak(form, alpha, beta))
    ses = np.asarray(se, dtype=float)
    check_ses(ses, len(x))
    columns = np.stack([x, _beta_column(form, x)], axis=1)
    alpha, beta = (float(value) for value in np.linalg.lstsq(columns / ses[:, None], y / ses, rcond=None)[0])
    residual = y - predict(form, alpha, beta, x)
    return Fit(alpha, beta, float(np.sqrt((residual**2).mean())), *peak(form, alpha, beta))


def fit_each(form: Form, d: Floats, gold: Floats) -> Fits:
    """Return the `fit` of each row of gold (B, K) on the same row of d (B, K)."""
    _check(form, d.ravel(), gold.ravel())
    draws, points = d.shape
    alpha, beta = _solve(form, d.ravel(), gold.ravel(), np.arange(draws) * points)
    residual = gold - d * alpha[:, None] - _beta_column(form, d) * beta[:, None]
    return Fits(alpha, beta, np.sqrt((residual**2).mean(axis=1)))


def fit_shared_each(form: Form, curves: Sequence[tuple[Floats, Floats]]) -> SharedFits:
    """Return, for every row, the `fit_shared` of that row of all `curves` (d, gold), each (B, K) with a K of its own.

    The normal equations are solved for alpha once every beta is expressed by it.
    """
    columns = [(d, _beta_column(form, d), gold) for d, gold in curves]
    products = [(d * d, d * z, z * z, d * y, z * y) for d, z, y in columns]
    sums = np.array([[product.sum(axis=1) for product in of_curve] for of_curve in products])  # (S, 5, B)
    dd, dz, zz, dy, zy = np.moveaxis(sums, 1, 0)
    alpha = (dy - dz * zy / zz).sum(axis=0) / (dd - dz**2 / zz).sum(axis=0)
    betas = (zy - dz * alpha) / zz
    squares = [
        ((y - d * alpha[:, None] - z * beta[:, None]) ** 2).sum(axis=1)
        for (d, z, y), beta in zip(columns, betas, strict=True)
    ]
    points = sum(d.shape[1] for d, _ in curves)
    return SharedFits(alpha, betas, np.sqrt(np.sum(squares, axis=0) / points))


def fit_shared(form: Form, curves: Sequence[tuple[ArrayLike, ArrayLike]]) -> Shared:
    """Return the fit of one alpha for all `curves` (d, gold) and a beta for each (2210.10760, section 3.2, for RL)."""
    points = [(np.asarray(d, dtype=float), np.asarray(gold, dtype=float)) for d, gold in curves]
    for d, gold in points:
        _check(form, d, gold)
    fits = fit_shared_each(form, [(d[None], gold[None]) for d, gold in points])
    return Shared(float(fits.alpha[0]), fits.betas[:, 0], float(fits.rmse[0]))


def _beta_column(form: Form, d: Floats) -> Floats:
    """Return what beta multiplies: z in gold = alpha d + beta z."""
    return -d * (d if form == "bon" else np.log(d))


def _solve(form: Form, d: Floats, gold: Floats, starts: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return alpha and beta (B,) of each set of points; the sets lie one after the other and begin at `starts` (B,)."""
    z = _beta_column(form, d)
    sums = np.stack([d * d, d * z, z * z, d * gold, z * gold])
    dd, dz, zz, dy, zy = np.add.reduceat(sums, starts, axis=1)
    determinant = dd * zz - dz**2
    return (zz * dy - dz * zy) / determinant, (dd * zy - dz * dy) / determinant


def predict(form: Form, alpha: float, beta: float, d: ArrayLike) -> Floats:
    """Return gold of the fitted form at d > 0."""
    x = np.asarray(d, dtype=float)
    return x * (alpha - beta * (x if form == "bon" else np.log(x)))


def peak(form: Form, alpha: float, beta: float) -> tuple[float, float]:
    """Return the place and height of the interior maximum; NaN where there is none.

    alpha / 2 beta and alpha^2 / 4 beta (best-of-n); exp(alpha / beta - 1) and beta d (RL).
    """
    if beta <= 0 or (form == "bon" and alpha <= 0):
        return float("nan"), float("nan")
    if form == "bon":
        return alpha / (2 * beta), alpha**2 / (4 * beta)
    with np.errstate(over="ignore"):
        place = float(np.exp(alpha / beta - 1))
    return place, beta * place


def bootstrap(form: Form, curve: Curve, replicates: int, rng: np.random.Generator, n: int) -> Bootstrap:
    """Return the fit and its intervals from `n` draws of `replicates` replicates and then of questions.

    `curve` computes the points of a draw from the ground up: normalisation, rescaling, KL and d.
    """
    best = fit(form, *curve(original(replicates)))
    drawn = [curve(resample) for resample in resamples(replicates, rng, n)]
    d, gold = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    _check(form, d, gold)
    starts = np.cumsum([0, *(len(points) for points, _ in drawn[:-1])])
    alpha, beta = _solve(form, d, gold, starts)
    peaks = [rankable_peak(form, float(a), float(b)) for a, b in zip(alpha, beta, strict=True)]
    draws = (alpha, beta, *zip(*peaks, strict=True))
    intervals = {
        name: percentile_interval(values, replicates=replicates)
        for name, values in zip(PARAMETERS, draws, strict=True)
    }
    return Bootstrap(best, intervals, n, replicates, kept(replicates))


def rankable_peak(form: Form, alpha: float, beta: float) -> tuple[float, float]:
    """Return the peak; where there is none, 0 for a form that only falls and inf for one that rises at any d."""
    interior = peak(form, alpha, beta)
    if not np.isnan(interior[0]):
        return interior
    return (0.0, 0.0) if alpha <= 0 else (float("inf"), float("inf"))


def rankable_places(form: Form, alpha: Floats, beta: Floats) -> Floats:
    """Return the place of each `rankable_peak`, (B,)."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        place = alpha / (2 * beta) if form == "bon" else np.exp(alpha / beta - 1)
    inside = (beta > 0) & ((alpha > 0) | (form == "rl"))
    return np.where(inside, place, np.where(alpha <= 0, 0.0, np.inf))


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
            f"d must be > 0 in the rl form, as log d is not finite at 0, got {d.min():g}: leave out the initial policy"
        )
    different = np.unique(d[d != 0])
    if len(different) < 2:
        raise ValueError(
            f"a fit of two parameters needs two different d other than 0, got {different}: add points at other KLs"
        )
