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
    """(K,) of each replicate: never the initial policy; the rl form's range for a trained policy."""
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
    """The points (d, gold) of a resample, replicate after replicate; looked up, as the arm has drawn them
    all.
    """
    rows = {draw.seed: row for row, draw in enumerate(arm.drawn.resamples)}
    d = [place[:, mask] for place, mask in zip(places(arm, axis), keep, strict=True)]
    gold = [one.values["gold"][:, mask] for one, mask in zip(arm.drawn.replicates, keep, strict=True)]

    @cache  # both forms are fitted to the same points
    def points(row: int) -> tuple[Floats, Floats]:
        taken = arm.drawn.resamples[row].replicates
        return np.concatenate([d[i][row] for i in taken]), np.concatenate([gold[i][row] for i in taken])

    return lambda resample: points(rows[resample.seed])


def places(arm: Arm, axis: str) -> list[Floats]:
    """(B, K) of each replicate: d in every draw of questions."""
    bound = np.sqrt(best_of_n_bound(arm.curves[0].points)) if axis == "bound" else None
    return [one.d if bound is None else np.broadcast_to(bound, one.kl.shape) for one in arm.drawn.replicates]


def axes(arm: Arm) -> tuple[str, ...]:
    """The KLs of an arm; the first is the one that every arm of its kind has."""
    axis = "tie-aware" if arm.chooses else "exact"
    return (axis, "bound") if arm.method == BEST_OF_N else (axis,)


# --- every run by itself --------------------------------------------------------------------------------------


class Refits(NamedTuple):
    """One form fitted to each run, each (B, R): draws of questions, the first with every one once; replicates."""

    alpha: Floats
    beta: Floats
    peak_d: Floats  # nats^0.5; 0 for a form that only falls, inf for one that only rises
    shortest: Floats  # the least d that was fitted
    longest: Floats  # the largest


class OneAlpha(NamedTuple):
    """The rl form with one alpha for all sizes of a replicate and a beta for each; B draws, R replicates, S sizes."""

    alpha: Floats  # (B, R)
    betas: Floats  # (S, B, R)
    cost: Floats  # (B, R): its RMSE over that of an alpha for each size


def form_of(arm: Arm) -> Form:
    """The form that Gao et al. fit to an arm's method."""
    return "bon" if arm.method == BEST_OF_N else "rl"


def enough_points(arm: Arm, axis: str) -> bool:
    """Whether every replicate has points for a fit."""
    return min(mask.sum() for mask in fitted_points(arm, axis)) >= fits.FEWEST_POINTS


def refits(arm: Arm, axis: str) -> Refits:
    """The method's own form, fitted to each run in every draw of questions."""
    form = form_of(arm)
    return Refits(*np.stack([_of_run(form, *points) for points in _runs(arm, axis)], axis=-1))


def one_alpha(arms: Sequence[Arm]) -> OneAlpha:
    """Of arms that have the same replicates."""
    found = [_of_replicate(sizes) for sizes in zip(*(_runs(arm, "exact") for arm in arms), strict=True)]
    alpha, betas, cost = (np.stack(parts, axis=-1) for parts in zip(*found, strict=True))
    return OneAlpha(alpha, betas, cost)


def _runs(arm: Arm, axis: str) -> list[tuple[Floats, Floats]]:
    """The points (d, gold) of each replicate, each (B, K)."""
    keep = fitted_points(arm, axis)
    return [
        (d[:, mask], run.values["gold"][:, mask])
        for d, run, mask in zip(places(arm, axis), arm.drawn.replicates, keep, strict=True)
    ]


def _of_run(form: Form, d: Floats, gold: Floats) -> Floats:
    """(5, B): alpha, beta, peak and range of one run."""
    found = fits.fit_each(form, d, gold)
    peaks = fits.rankable_places(form, found.alpha, found.beta)
    return np.array([found.alpha, found.beta, peaks, d.min(axis=1), d.max(axis=1)])


def _of_replicate(runs: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats, Floats]:
    """Alpha (B,), betas (S, B) and cost (B,) of one replicate's runs."""
    together = fits.fit_shared_each("rl", runs)
    squares = [d.shape[1] * fits.fit_each("rl", d, gold).rmse ** 2 for d, gold in runs]
    apart = np.sqrt(np.sum(squares, axis=0) / sum(d.shape[1] for d, _ in runs))
    return together.alpha, together.betas, together.rmse / apart
