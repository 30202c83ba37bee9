"""The gap between what a proxy promises under best-of-n and what gold gives, and the KL where gold would peak."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.best_of_n.curves import Curves
from analysis.statistics import fits
from analysis.statistics.fits import Fit
from analysis.statistics.resampling import Resample, percentile_interval, weights_of
from rlhf_lab.functional.intervals import Interval

Floats = NDArray[np.float64]


class Gap(NamedTuple):
    """The gap of proxy and gold, from the best-of-n form fitted to each."""

    gamma: float  # 2505.12763, section 3.3; inf where gold gains nothing
    gamma_interval: Interval  # 95 %, of draws of questions
    peak_kl: float  # nats; 0 where gold only falls, inf where it rises to any KL
    peak_interval: Interval
    reach: float  # nats: the largest KL fitted


def gamma(gold: Fit, proxy: Fit, end: float) -> float:
    """Return the integral of |f - g| over that of f, for d in [0, end] (2505.12763, section 3.3).

    f is the best-of-n form fitted to gold and g the one fitted to the proxy; inf where gold gains nothing.
    """
    below = _area(gold.alpha, gold.beta, end)
    if below <= 0:
        return float("inf")
    alpha, beta = gold.alpha - proxy.alpha, gold.beta - proxy.beta
    crossing = alpha / beta if beta != 0 else 0.0
    cuts = [0.0, crossing, end] if 0 < crossing < end else [0.0, end]
    areas = np.diff([_area(alpha, beta, cut) for cut in cuts])
    return float(np.abs(areas).sum() / below)


def _area(alpha: float, beta: float, end: float) -> float:
    """Return the integral of d (alpha - beta d) over d in [0, end]."""
    return alpha * end**2 / 2 - beta * end**3 / 3


def gap(curves: Curves, draws: Sequence[Resample]) -> Gap | str:
    """Return the gap of a best-of-n curve with intervals over `draws`, or a sentence on why it has none: too few
    points.
    """
    mean = curves.normalised()
    keep = curves.kl_good & (mean.kl > 0) & (curves.points > 1)
    if keep.sum() < fits.FEWEST_POINTS:
        return (
            f"{keep.sum()} points with KL > 0 at n <= N/4, fewer than the {fits.FEWEST_POINTS} of a fit: "
            "sample more answers a prompt"
        )
    drawn = curves.normalised(weights_of(draws, len(curves.questions)))
    d = np.concatenate([mean.d[None], drawn.d])[:, keep]
    gold, proxy = (
        np.concatenate([mean.values[name][None], drawn.values[name]])[:, keep]
        for name in ("gold", "recalibrated")
    )
    # the first row is the curve's, the others are the draws'
    rows = np.array([_numbers(*row) for row in zip(d, gold, proxy, strict=True)])
    (ratio, peak), intervals = rows[0].tolist(), [percentile_interval(column) for column in rows[1:].T]
    return Gap(ratio, intervals[0], peak, intervals[1], float(mean.kl[keep].max()))


def _numbers(d: Floats, gold: Floats, proxy: Floats) -> tuple[float, float]:
    """Return gamma and the KL of gold's peak."""
    of_gold, of_proxy = (fits.fit("bon", d, values) for values in (gold, proxy))
    return gamma(of_gold, of_proxy, float(d.max())), fits.rankable_peak("bon", *of_gold[:2])[0] ** 2
