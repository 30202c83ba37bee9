"""A study as tidy tables: the plotted numbers, and the fits with their intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import bestofn, fits
from analysis.arms import BEST_OF_N, Arm, Study
from analysis.curves import Normalised
from analysis.resampling import (
    Interval,
    Resample,
    conditional,
    original,
    percentile_interval,
    resamples,
    weights_of,
)

Floats = NDArray[np.float64]

DRAWS = 300
SEED = 2022  # of every bootstrap of a figure: the same records give the same numbers
BANDED = ("gold", "content", "form", "proxy", "well_formed")
LEAST_D_RL = 1.0  # nats^0.5: the rl form is not fitted below (2210.10760, footnote 1)
FEWEST_POINTS = 4  # of a fit of two parameters


def points_table(study: Study) -> pd.DataFrame:
    """One row per arm and point (`curve` is mean, with 95 % bands) and per run and point (`curve` is
    replicate).
    """
    rows: list[pd.DataFrame] = []
    for arm in study.arms:
        rows.append(_mean_rows(arm))
        rows += [_replicate_rows(arm, index) for index in range(len(arm.curves))]
    return pd.concat(rows, ignore_index=True)


def fits_table(study: Study) -> pd.DataFrame:
    """One row per arm, x-axis, form and parameter; `form` "observed" is the highest point of the mean
    curve.
    """
    rows: list[dict[str, Any]] = []
    for arm in study.arms:
        for axis in ("tie-aware", "bound") if arm.method == BEST_OF_N else ("exact",):
            rows += _fit_rows(arm, axis)
        rows += _observed_rows(arm)
    return pd.DataFrame(rows)


def mean_over_replicates(arm: Arm, draws: list[Resample]) -> Normalised:
    """(B, K) curves: of each draw, the mean over its replicates, all on the same draw of questions."""
    weights = weights_of(draws, arm.questions)
    each = [curves.normalised(weights) for curves in arm.curves]
    taken = np.stack(
        [np.bincount(draw.replicates, minlength=len(each)) / len(draw.replicates) for draw in draws]
    )

    def mean(parts: list[Floats]) -> Floats:
        return np.einsum("br,rbk->bk", taken, np.stack(parts))

    values = {name: mean([one.values[name] for one in each]) for name in each[0].values}
    return Normalised(mean([one.kl for one in each]), values)


def _mean_rows(arm: Arm) -> pd.DataFrame:
    best = mean_over_replicates(arm, [original(len(arm.curves))])
    draws = resamples(len(arm.curves), np.random.default_rng(SEED), DRAWS)
    drawn = mean_over_replicates(arm, draws)
    table = _frame(arm, Normalised(best.kl[0], {name: value[0] for name, value in best.values.items()}))
    table.insert(4, "curve", "mean")
    table.insert(5, "replicate", "")
    table["gold_se"] = drawn.values["gold"].std(axis=0, ddof=1)
    for name, values in [
        ("kl", drawn.kl),
        *((name, drawn.values[name]) for name in BANDED if name in drawn.values),
    ]:
        lo, hi = np.quantile(values, [0.025, 0.975], axis=0)
        table[f"{name}_lo"], table[f"{name}_hi"] = lo, hi
    return table


def _replicate_rows(arm: Arm, index: int) -> pd.DataFrame:
    table = _frame(arm, arm.curves[index].normalised())
    table.insert(4, "curve", "replicate")
    table.insert(5, "replicate", arm.seeds[index])
    return table


def _frame(arm: Arm, curve: Normalised) -> pd.DataFrame:
    points = arm.curves[0].points
    bound = bestofn.kl(points) if arm.method == BEST_OF_N else np.full(len(points), np.nan)
    columns = {
        "method": arm.method,
        "rm": arm.rm,
        "arm": arm.kind,
        "label": arm.label,
        "replicates": len(arm.curves),
        "questions": arm.questions,
        "n_or_step": points,
        "kl": curve.kl,
        "kl_good": np.logical_and.reduce([one.kl_good for one in arm.curves]),
        "kl_bound": bound,
        "d": curve.d,
    }
    return pd.DataFrame(columns | {name: curve.values[name] for name in BANDED if name in curve.values})


def _fit_rows(arm: Arm, axis: str) -> list[dict[str, Any]]:
    """Both forms on the same points; the one with the smaller RMSE is marked, not demanded."""
    keep = _fitted_points(arm, axis)
    about = _about(arm) | {"x": axis, "points": int(sum(mask.sum() for mask in keep))}
    if min(mask.sum() for mask in keep) < FEWEST_POINTS:
        nothing = {"estimate": np.nan, "lo": np.nan, "hi": np.nan, "rmse": np.nan, "best_form": None}
        note = f"not fitted: a replicate has fewer than {FEWEST_POINTS} points to fit"
        return [
            about | {"form": form, "parameter": name} | nothing | {"note": note}
            for form in fits.FORMS
            for name in fits.PARAMETERS
        ]

    def curve(resample: Resample) -> tuple[Floats, Floats]:
        return _points(arm, axis, keep, resample)

    replicates = len(arm.curves)
    found = {
        form: fits.bootstrap(form, curve, replicates, np.random.default_rng(SEED), DRAWS)
        for form in fits.FORMS
    }
    winner = min(found, key=lambda form: found[form].fit.rmse)
    rows = []
    for form, result in found.items():
        for name in fits.PARAMETERS:
            estimate, bounds = getattr(result.fit, name), result.intervals[name]
            rows.append(
                about
                | {
                    "form": form,
                    "parameter": name,
                    "estimate": estimate,
                    "lo": bounds.lo,
                    "hi": bounds.hi,
                    "rmse": result.fit.rmse,
                    "best_form": form == winner,
                    "note": _note(arm),
                }
            )
    return rows


def _fitted_points(arm: Arm, axis: str) -> list[NDArray[np.bool_]]:
    """(K,) of each replicate: never the initial policy; the rl form's range for a trained policy."""
    masks = []
    for curves in arm.curves:
        mask = np.ones(len(curves.points), dtype=bool)
        mask[0] = False
        if arm.method == BEST_OF_N:
            mask &= curves.kl_good if axis == "tie-aware" else True
            mask &= curves.normalised().kl > 0  # a proxy that ties nearly everywhere
        else:
            mask &= curves.normalised().d > LEAST_D_RL
        masks.append(mask)
    return masks


def _points(arm: Arm, axis: str, keep: list[NDArray[np.bool_]], resample: Resample) -> tuple[Floats, Floats]:
    """The points (d, gold) of every replicate drawn, one after the other."""
    weights = resample.questions(arm.questions)
    d, gold = [], []
    for index in resample.replicates:
        curves = arm.curves[index]
        one = curves.normalised(weights)
        x = np.sqrt(bestofn.kl(curves.points)) if axis == "bound" else one.d
        d.append(x[keep[index]])
        gold.append(one.values["gold"][keep[index]])
    return np.concatenate(d), np.concatenate(gold)


def _observed_rows(arm: Arm) -> list[dict[str, Any]]:
    """KL and gold of the highest point of the arm's mean curve; at the last point the peak is only known to
    be later.
    """
    replicates = len(arm.curves)
    best = mean_over_replicates(arm, [original(replicates)])
    drawn = mean_over_replicates(arm, resamples(replicates, np.random.default_rng(SEED), DRAWS))
    place = int(best.values["gold"][0].argmax())
    last = place == len(arm.curves[0].points) - 1
    places = drawn.values["gold"].argmax(axis=1)
    estimates = {
        "peak_kl": (best.kl[0, place], drawn.kl[np.arange(DRAWS), places]),
        "peak_height": (best.values["gold"][0, place], drawn.values["gold"].max(axis=1)),
    }
    rows = []
    for name, (estimate, values) in estimates.items():
        bounds: Interval = percentile_interval(values)
        rows.append(
            _about(arm)
            | {
                "x": "exact" if arm.method != BEST_OF_N else "tie-aware",
                "points": best.kl.shape[1],
                "form": "observed",
                "parameter": name,
                "estimate": float(estimate),
                "lo": bounds.lo,
                "hi": bounds.hi,
                "rmse": np.nan,
                "best_form": None,
                "note": ("at least this: the last point; " if last else "") + _note(arm),
            }
        )
    return rows


def _about(arm: Arm) -> dict[str, Any]:
    return {
        "method": arm.method,
        "rm": arm.rm,
        "arm": arm.kind,
        "label": arm.label,
        "replicates": len(arm.curves),
        "n": arm.questions,
        "draws": DRAWS,
    }


def _note(arm: Arm) -> str:
    return "interval conditional on these replicates" if conditional(len(arm.curves)) else ""
