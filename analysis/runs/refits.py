"""Coefficients of every replicate, refitted in every draw of questions: to be ranked against size, or paired by seeds.

A table of fits (analysis/runs/fit_tables.py) pools the replicates of an arm; here each run has a fit of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.runs.arms import BEST_OF_N, Arm
from analysis.runs.fit_tables import fitted_points, places
from analysis.statistics import fits
from analysis.statistics.fits import Form

Floats = NDArray[np.float64]


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
