"""The gap between what a proxy promises under best-of-n and what gold gives, and where gold would peak."""

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

SCORES = ("gold", "proxy")


class Gap(NamedTuple):
    """From the bon form, fitted to gold and to the proxy."""

    gamma: float  # 2505.12763, section 3.3; inf where gold gains nothing
    gamma_interval: Interval  # 95 %, of draws of questions
    peak_kl: float  # nats; 0 where gold only falls, inf where it rises to any KL
    peak_interval: Interval
    reach: float  # nats: the largest KL fitted


def gamma(gold: Fit, proxy: Fit, end: float) -> float:
    """Integral of |f - g| over that of f, d in [0, end]; f is gold's and g the proxy's fit of the bon form (2505.12763,
    section 3.3).
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
    """Integral of d (alpha - beta d) over d in [0, end]."""
    return alpha * end**2 / 2 - beta * end**3 / 3


def gap(curves: Curves, draws: Sequence[Resample]) -> Gap | str:
    """Of a best-of-n curve; why not, where it has too few points."""
    mean = curves.normalised()
    keep = curves.kl_good & (mean.kl > 0) & (curves.points > 1)
    if keep.sum() < fits.FEWEST_POINTS:
        return f"{keep.sum()} points with KL > 0 at n <= N/4 to fit, needed {fits.FEWEST_POINTS}: more answers a prompt"
    drawn = curves.normalised(weights_of(draws, len(curves.questions)))
    place = np.concatenate([mean.d[None], drawn.d])[:, keep]
    heights = {
        name: np.concatenate([mean.values[name][None], drawn.values[name]])[:, keep] for name in SCORES
    }
    found = np.array([_numbers(d, *of) for d, *of in zip(place, *heights.values(), strict=True)])
    (ratio, peak), intervals = found[0].tolist(), [percentile_interval(column) for column in found[1:].T]
    return Gap(ratio, intervals[0], peak, intervals[1], float(mean.kl[keep].max()))


def _numbers(d: Floats, gold: Floats, proxy: Floats) -> tuple[float, float]:
    """gamma, and the KL of gold's peak."""
    of_gold, of_proxy = (fits.fit("bon", d, values) for values in (gold, proxy))
    return gamma(of_gold, of_proxy, float(d.max())), fits.rankable_peak("bon", *of_gold[:2])[0] ** 2
