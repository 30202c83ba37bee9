"""Gao et al.'s forms fitted to arms: their points, pooled over replicates, or run by run in every draw of questions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.runs.arms import BEST_OF_N, Arm
from analysis.statistics import fits
from analysis.statistics.fits import Form
from rlhf_lab.functional.divergence import best_of_n_bound

Floats = NDArray[np.float64]

LEAST_D_RL = 1.0  # nats^0.5: the rl form is not fitted below (2210.10760, footnote 1)


def fitted_points(arm: Arm, axis: str) -> list[NDArray[np.bool_]]:
    """(K,) of each replicate: never the initial policy; for a trained policy the range of the rl form."""
    masks = []
    for curves in arm.curves:
        mask = np.ones(len(curves.points), dtype=bool)
        mask[0] = False
        if arm.chooses:
            mask &= curves.kl_good if axis == "tie-aware" else True
            mask &= curves.normalised().kl > 0  # a proxy that ties nearly everywhere
        else:
            mask &= curves.normalised().d > LEAST_D_RL
        masks.append(mask)
    return masks


def curve_of(arm: Arm, axis: str, keep: list[NDArray[np.bool_]]) -> fits.Curve:
    """Return a function that gives the points (d, gold) of a resample, replicate after replicate.

    Only resamples that the arm has drawn are known; their points are looked up.
    """
    rows = {draw.seed: row for row, draw in enumerate(arm.drawn.resamples)}
    d = [values[:, mask] for values, mask in zip(distances(arm, axis), keep, strict=True)]
    gold = [curves.values["gold"][:, mask] for curves, mask in zip(arm.drawn.replicates, keep, strict=True)]

    @cache  # both forms are fitted to the same points
    def points(row: int) -> tuple[Floats, Floats]:
        """Return d and gold of the replicates in one draw, one replicate after the other."""
        replicates = arm.drawn.resamples[row].replicates
        return np.concatenate([d[i][row] for i in replicates]), np.concatenate(
            [gold[i][row] for i in replicates]
        )

    return lambda resample: points(rows[resample.seed])


def distances(arm: Arm, axis: str) -> list[Floats]:
    """(B, K) of each replicate: d, the root of KL, in every draw of questions."""
    if axis != "bound":
        return [curves.d for curves in arm.drawn.replicates]
    bound = np.sqrt(best_of_n_bound(arm.curves[0].points))
    return [np.broadcast_to(bound, curves.kl.shape) for curves in arm.drawn.replicates]


def kl_axes(arm: Arm) -> tuple[str, ...]:
    """Return the estimates of KL that an arm has; the first is the one that every arm of its kind has."""
    axis = "tie-aware" if arm.chooses else "exact"
    return (axis, "bound") if arm.method == BEST_OF_N else (axis,)


# --- every run by itself ----------------------------------------------------------------------------------------


class Refits(NamedTuple):
    """One form fitted to each of R runs in each of B draws of questions, the first with every question once."""

    alpha: Floats  # (B, R)
    beta: Floats  # (B, R)
    peak_d: Floats  # (B, R) nats^0.5; 0 for a form that only falls, inf for one that only rises
    shortest: Floats  # (B, R) the least d that was fitted
    longest: Floats  # (B, R) the largest


class SharedAlpha(NamedTuple):
    """The rl form with one alpha for all S sizes of a replicate and a beta for each, in B draws of R replicates."""

    alpha: Floats  # (B, R)
    betas: Floats  # (S, B, R)
    cost: Floats  # (B, R): its RMSE over that of an alpha for each size


def form_of(arm: Arm) -> Form:
    """Return the form that Gao et al. fit to an arm's method."""
    return "bon" if arm.method == BEST_OF_N else "rl"


def enough_points(arm: Arm, axis: str) -> bool:
    """Return whether every replicate has points for a fit."""
    return min(mask.sum() for mask in fitted_points(arm, axis)) >= fits.FEWEST_POINTS


def refits(arm: Arm, axis: str) -> Refits:
    """Return the method's own form, fitted to each run in every draw of questions."""
    form = form_of(arm)
    fitted = []
    for d, gold in _points(arm, axis):
        fit = fits.fit_each(form, d, gold)
        peak = fits.rankable_places(form, fit.alpha, fit.beta)
        fitted.append(np.array([fit.alpha, fit.beta, peak, d.min(axis=1), d.max(axis=1)]))
    return Refits(*np.stack(fitted, axis=-1))


def shared_alpha(arms: Sequence[Arm]) -> SharedAlpha:
    """Return the rl form with one alpha for all `arms`, which have the same replicates, in every draw of questions."""
    alphas, betas, costs = [], [], []
    for sizes in zip(*(_points(arm, "exact") for arm in arms), strict=True):
        together = fits.fit_shared_each("rl", sizes)
        squares = [d.shape[1] * fits.fit_each("rl", d, gold).rmse ** 2 for d, gold in sizes]
        apart = np.sqrt(np.sum(squares, axis=0) / sum(d.shape[1] for d, _ in sizes))
        alphas.append(together.alpha)
        betas.append(together.betas)
        costs.append(together.rmse / apart)
    return SharedAlpha(np.stack(alphas, axis=-1), np.stack(betas, axis=-1), np.stack(costs, axis=-1))


def _points(arm: Arm, axis: str) -> list[tuple[Floats, Floats]]:
    """The fitted points (d, gold) of each replicate, each (B, K)."""
    return [
        (d[:, mask], curves.values["gold"][:, mask])
        for d, curves, mask in zip(
            distances(arm, axis), arm.drawn.replicates, fitted_points(arm, axis), strict=True
        )
    ]
