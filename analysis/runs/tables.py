"""The tables of a figure: the plotted points of a study, the fits to them, and rows of estimates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.best_of_n.curves import Normalised
from analysis.runs.arms import BEST_OF_N, DRAWS, MAIN, SEED, Arm, Study
from analysis.runs.fitting import curve_of, fitted_points, kl_axes
from analysis.statistics import fits
from analysis.statistics.resampling import Bootstrapped, kept, original, percentile_interval
from rlhf_lab.functional.divergence import best_of_n_bound
from rlhf_lab.functional.intervals import LEVEL, Estimate, Reported

BANDED = ("gold", "content", "form", "proxy", "recalibrated", "well_formed")


def points_table(study: Study) -> pd.DataFrame:
    """One row per arm and point (`curve` is mean, with 95 % bands) and per run and point (`curve` is
    replicate).
    """
    rows: list[pd.DataFrame] = []
    for arm in study.arms:
        rows.append(_mean_rows(arm))
        rows += [_replicate_rows(arm, index) for index in range(len(arm.curves))]
    return pd.concat(rows, ignore_index=True)


def _mean_rows(arm: Arm) -> pd.DataFrame:
    drawn = arm.drawn.mean()
    table = _frame(arm, Normalised(drawn.kl[0], {name: value[0] for name, value in drawn.values.items()}))
    table.insert(4, "curve", "mean")
    table.insert(5, "replicate", "")
    replicates = arm.drawn.replicates
    for name in ("kl", *(name for name in BANDED if name in drawn.values)):
        draws = np.stack(
            [curves.kl if name == "kl" else curves.values[name] for curves in replicates], axis=1
        )
        means = [Estimate.of(draws[:, :, point]) for point in range(draws.shape[2])]
        table[f"{name}_lo"], table[f"{name}_hi"] = zip(*(mean.interval() for mean in means), strict=True)
        if name == "gold":
            table["gold_se"] = [mean.se for mean in means]
    return table


def _replicate_rows(arm: Arm, index: int) -> pd.DataFrame:
    table = _frame(arm, arm.curves[index].normalised())
    table.insert(4, "curve", "replicate")
    table.insert(5, "replicate", arm.seeds[index])
    return table


def _frame(arm: Arm, curve: Normalised) -> pd.DataFrame:
    points = arm.curves[0].points
    bound = best_of_n_bound(points) if arm.method == BEST_OF_N else np.full(len(points), np.nan)
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
        "kl_estimator": arm.curves[0].estimator,
        "d": curve.d,
    }
    return pd.DataFrame(columns | {name: curve.values[name] for name in BANDED if name in curve.values})


# --- fits -----------------------------------------------------------------------------------------------------


def fits_table(study: Study) -> pd.DataFrame:
    """One row per arm, x-axis, form and parameter; `form` "observed" is the highest point of the mean
    curve.
    """
    rows: list[dict[str, Any]] = []
    for arm in study.arms:
        for axis in kl_axes(arm):
            rows += _fit_rows(arm, axis)
        rows += observed_rows(arm)
    for method in study.methods:
        rows += _shared_rows([arm for arm in study.of(method, MAIN) if not arm.chooses])
    return pd.DataFrame(rows)


def _fit_rows(arm: Arm, axis: str) -> list[dict[str, Any]]:
    """Both forms on the same points; the one with the smaller RMSE is marked, not demanded."""
    keep = fitted_points(arm, axis)
    about = _about(arm) | {"x": axis, "points": int(sum(mask.sum() for mask in keep))}
    if min(mask.sum() for mask in keep) < fits.FEWEST_POINTS:
        nothing = {"estimate": np.nan, "lo": np.nan, "hi": np.nan, "rmse": np.nan, "best_form": None}
        note = f"not fitted: a replicate has fewer than {fits.FEWEST_POINTS} points to fit"
        return [
            about | {"form": form, "parameter": name} | nothing | {"note": note}
            for form in fits.FORMS
            for name in fits.PARAMETERS
        ]

    curve = curve_of(arm, axis, keep)
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


def _shared_rows(arms: list[Arm]) -> list[dict[str, Any]]:
    """The rl form with one alpha for all sizes and a beta for each (2210.10760, Figure 3): what that costs in
    RMSE is for the reader to compare.
    """
    kept = [(arm, fitted_points(arm, "exact")) for arm in arms]
    kept = [(arm, masks) for arm, masks in kept if min(mask.sum() for mask in masks) >= fits.FEWEST_POINTS]
    if len(kept) < 2:
        return []
    arms, curves = [arm for arm, _ in kept], [curve_of(arm, "exact", masks) for arm, masks in kept]
    draws = zip(*(arm.drawn.resamples for arm in arms), strict=True)  # arms draw the same questions together
    found, *drawn = (
        fits.fit_shared("rl", [curve(one) for curve, one in zip(curves, draw, strict=True)]) for draw in draws
    )
    alphas, betas = np.array([one.alpha for one in drawn]), np.stack([one.betas for one in drawn])
    apart = [
        fits.fit("rl", *curve(original(len(arm.curves)))) for arm, curve in zip(arms, curves, strict=True)
    ]
    points = np.array([sum(mask.sum() for mask in masks) for _, masks in kept])
    rmse_apart = np.sqrt(np.average([one.rmse**2 for one in apart], weights=points))
    note = "; ".join(filter(None, [f"an alpha for each size: rmse {rmse_apart:.4g}", _note(arms[0])]))
    about = [_about(arm) for arm in arms]
    together = about[0] | {
        "rm": "all",
        "label": "all sizes",
        "replicates": min(a["replicates"] for a in about),
    }
    named = [(together, "alpha", found.alpha, alphas)]
    named += [(one, "beta", found.betas[i], betas[:, i]) for i, one in enumerate(about)]
    return [
        whose
        | {"x": "exact", "points": int(points.sum()), "form": "rl, one alpha", "parameter": name}
        | {
            "estimate": float(estimate),
            **percentile_interval(values, replicates=together["replicates"])._asdict(),
        }
        | {"rmse": found.rmse, "best_form": None, "note": note}
        for whose, name, estimate, values in named
    ]


def observed_rows(arm: Arm) -> list[dict[str, Any]]:
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
        bounds = percentile_interval(values[1:], replicates=len(arm.curves))
        rows.append(
            _about(arm)
            | {
                "x": kl_axes(arm)[0],
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
    return "interval conditional on these replicates" if kept(len(arm.curves)) else ""


def estimate_row(
    of: Arm | Mapping[str, Any],
    form: str,
    parameter: str,
    estimate: Estimate | Bootstrapped,
    n: int | None = None,
    unit: str = "",
    level: float = LEVEL,
) -> dict[str, Any]:
    """Return a row of a table of estimates: of whom, what, the estimate with its interval at `level`, and `n`.

    `of` is an arm, or the columns that name anything else; `form` says how the `parameter` was estimated; `n` counts
    questions, and is the arm's own number of them by default.
    """
    lo, hi = estimate.interval(level)
    named = {"method": of.method, "rm": of.rm, "label": of.label} if isinstance(of, Arm) else of
    note = f"{100 * level:.0f} % interval" + (
        ", conditional on the replicates" if estimate.is_conditional else ""
    )
    return {
        **named,
        "form": form,
        "parameter": parameter,
        "estimate": estimate.value,
        "lo": lo,
        "hi": hi,
        "se": estimate.se,
        "n": of.questions if n is None and isinstance(of, Arm) else n,
        "replicates": estimate.replicates,
        "note": f"{note}; {unit}" if unit else note,
    }


def with_interval(estimate: Reported, digits: int = 2) -> str:
    """Return an estimate and its 95 % interval as text, such as "+0.12 [-0.03, +0.27]"."""
    lo, hi = estimate.interval()
    return f"{estimate.value:+.{digits}f} [{lo:+.{digits}f}, {hi:+.{digits}f}]"
