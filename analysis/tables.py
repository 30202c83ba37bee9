"""A study as tidy tables: the plotted numbers, and the fits with their intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import bestofn, fits
from analysis.arms import BEST_OF_N, DRAWS, SEED, Arm, Study
from analysis.curves import Normalised
from analysis.resampling import Resample, conditional, percentile_interval

Floats = NDArray[np.float64]

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


def _mean_rows(arm: Arm) -> pd.DataFrame:
    drawn = arm.drawn.mean()
    table = _frame(arm, Normalised(drawn.kl[0], {name: value[0] for name, value in drawn.values.items()}))
    table.insert(4, "curve", "mean")
    table.insert(5, "replicate", "")
    table["gold_se"] = drawn.values["gold"][1:].std(axis=0, ddof=1)
    banded = {"kl": drawn.kl} | {name: drawn.values[name] for name in BANDED if name in drawn.values}
    for name, values in banded.items():
        table[f"{name}_lo"], table[f"{name}_hi"] = np.quantile(values[1:], [0.025, 0.975], axis=0)
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

    curve = _curve(arm, axis, keep)
    found = {
        form: fits.bootstrap(form, curve, len(arm.curves), np.random.default_rng(SEED), DRAWS)
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


def _curve(arm: Arm, axis: str, keep: list[NDArray[np.bool_]]) -> fits.Curve:
    """The points (d, gold) of a resample, replicate after replicate; looked up, as the arm has drawn them
    all.
    """
    rows = {draw.seed: row for row, draw in enumerate(arm.drawn.resamples)}
    bound = np.sqrt(bestofn.kl(arm.curves[0].points)) if axis == "bound" else None
    places = [
        np.sqrt(np.maximum(one.kl, 0)) if bound is None else np.broadcast_to(bound, one.kl.shape)
        for one in arm.drawn.replicates
    ]
    golds = [one.values["gold"] for one in arm.drawn.replicates]

    def curve(resample: Resample) -> tuple[Floats, Floats]:
        row = rows[resample.seed]
        d = [places[index][row, keep[index]] for index in resample.replicates]
        gold = [golds[index][row, keep[index]] for index in resample.replicates]
        return np.concatenate(d), np.concatenate(gold)

    return curve


def _observed_rows(arm: Arm) -> list[dict[str, Any]]:
    """KL and gold of the highest point of the arm's mean curve; at the last point the peak is only known to
    be later.
    """
    drawn = arm.drawn.mean()
    gold = drawn.values["gold"]
    places = gold.argmax(axis=1)
    peak_kl, height = drawn.kl[np.arange(len(gold)), places], gold.max(axis=1)
    last = places[0] == gold.shape[1] - 1
    rows = []
    for name, values in (("peak_kl", peak_kl), ("peak_height", height)):
        bounds = percentile_interval(values[1:])
        rows.append(
            _about(arm)
            | {
                "x": "exact" if arm.method != BEST_OF_N else "tie-aware",
                "points": gold.shape[1],
                "form": "observed",
                "parameter": name,
                "estimate": float(values[0]),
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
