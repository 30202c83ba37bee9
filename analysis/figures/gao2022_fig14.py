"""KL against optimiser steps, under penalties and over reward-model sizes (2210.10760, Figures 14 and 16)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from analysis.best_of_n.curves import kl_axis
from analysis.drawing import plot, theme
from analysis.drawing.penalty_colours import colours
from analysis.drawing.result import FigureResult
from analysis.runs.arms import MAIN, Arm, Study, study
from analysis.runs.equal_kl import root_kl
from analysis.runs.penalties import coefficient, families, short_title
from analysis.runs.tables import estimate_row, points_table
from analysis.statistics.claims import ClaimTable
from analysis.statistics.resampling import weights_of
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

Floats = NDArray[np.float64]

NAME = "gao2022_fig14"
SWEEPS = ("gao2022_fig9", "gao2022_fig1")

FEWEST_POINTS = 3  # of a slope


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw KL over steps of every policy that is trained step by step, and fit how it grows."""
    trained = [run for run in runs if "steps" in run.config["policy"]]
    if not trained:
        raise MissingRuns("no run is trained by steps")
    data = study(trained)
    claims = ClaimTable(NAME)
    for arm in data.arms:
        if arm.kind == MAIN:
            claim_square(claims, arm)
    for family in families(data).values():
        if len(family) > 2:  # no penalty, and two or more
            claim_plateau(claims, max(family, key=coefficient))
    table = points_table(data)
    warmup = table["method"].map({arm.method: arm.settings.get("warmup", 0) for arm in data.arms})
    table["full_steps"] = full_steps(table["n_or_step"].to_numpy(), warmup.to_numpy())
    rule = claims.limits["square_of_step"]
    rows = []
    for arm in data.arms:
        exponent = slope(arm, rule["from_kl"], rule["to_kl"])
        rows.append(estimate_row(arm, "growth of KL", "slope of log KL against log steps", exponent))
        rows.append(
            estimate_row(arm, "growth of KL", "share of KL gained in the last third", late_share(arm))
        )
    return FigureResult(table, pd.DataFrame(rows), claims, draw(data, table, rule))


def full_steps(steps: NDArray[Any], warmup: NDArray[Any] | float) -> Floats:
    """Return optimiser steps counted by their share of the learning rate, which rises linearly over the warm-up."""
    begun = np.minimum(steps, warmup)
    return steps - begun + begun**2 / (2 * np.maximum(warmup, 1))


# --- claims -------------------------------------------------------------------------------------------------


def claim_square(claims: ClaimTable, arm: Arm) -> None:
    """Claim `square_of_step`: without a penalty, KL grows with the square of the optimiser steps."""
    rule = claims.limits["square_of_step"]
    claims.equivalent(
        "square_of_step",
        arm.title,
        f"KL grows with the square of the optimiser steps, from KL {rule['from_kl']:g} to {rule['to_kl']:g}",
        slope(arm, rule["from_kl"], rule["to_kl"]),
        arm.questions,
        "KL ~ step^2",
        lo=2 - rule["margin"],
        hi=2 + rule["margin"],
        unit="slope of log KL against log steps",
    )


def claim_plateau(claims: ClaimTable, arm: Arm) -> None:
    """Claim `plateau`: under the largest penalty, KL stops growing; a square of the steps would gain a share of .56."""
    share = claims.limits["plateau"]["share"]
    claims.below(
        "plateau",
        arm.title,
        f"KL stops growing: less than {share:.0%} of it is gained in the last third of the steps",
        late_share(arm),
        arm.questions,
        "plateau",
        threshold=share,
        unit="share of the KL at the last checkpoint",
    )


# --- growth -------------------------------------------------------------------------------------------------


def slope(arm: Arm, from_kl: float, to_kl: float) -> Estimate:
    """Return the slope of log KL on log steps at full learning rate, by least squares.

    The points are checkpoints past the warm-up with a KL in the range.
    """
    warmup = arm.settings.get("warmup", 0)
    draws = []
    for steps, kl in kl_paths(arm):
        inside = (steps > warmup) & (kl >= from_kl) & (kl <= to_kl)
        x = np.broadcast_to(np.log(np.maximum(full_steps(steps, warmup), 1)), kl.shape)
        draws.append(least_squares_slopes(x, np.log(np.where(inside, kl, 1)), inside))
    return Estimate.of(np.stack(draws, axis=1))


def least_squares_slopes(x: Floats, y: Floats, inside: NDArray[np.bool_]) -> Floats:
    """Return (B,), the slope of each row over the points inside; NaN where they are too few."""
    count = inside.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        dx, dy = (
            np.where(inside, z - (z * inside).sum(axis=1, keepdims=True) / count[:, None], 0) for z in (x, y)
        )
        return np.where(count >= FEWEST_POINTS, (dx * dy).sum(axis=1) / (dx**2).sum(axis=1), np.nan)


def late_share(arm: Arm) -> Estimate:
    """Return the share of the KL at the last checkpoint that is gained in the last third of the steps."""
    draws = []
    for steps, kl in kl_paths(arm):
        before = np.argmin(np.abs(steps - steps[-1] * 2 / 3))
        draws.append(1 - kl[:, before] / kl[:, -1])
    return Estimate.of(np.stack(draws, axis=1))


def kl_paths(arm: Arm) -> list[tuple[Floats, Floats]]:
    """Return the steps (K,) and the KL (B, K) in every draw of questions, for each replicate."""
    weights = weights_of(arm.drawn.resamples, arm.questions)
    return [(curves.points.astype(float), root_kl(curves, weights, None) ** 2) for curves in arm.curves]


# --- drawing ------------------------------------------------------------------------------------------------


def draw(data: Study, table: pd.DataFrame, rule: Mapping[str, float]) -> Figure:
    """Draw KL over steps, log-log, with faint replicates; the slope is fitted in the grey strip."""
    penalties = list({arm.title: arm for family in families(data).values() for arm in family}.values())
    by_size = [arm for arm in data.arms if arm.kind == MAIN]
    shown = {"penalties": penalties} if penalties else {}
    if not penalties or len(by_size) > 1:
        shown["no penalty, by reward model"] = by_size
    figure, axes = theme.panels(len(shown), 3.3)
    after = table[(table["full_steps"] > 0) & (table["kl"] > 0)]
    for panel, (title, arms) in zip(axes, shown.items(), strict=True):
        hues = dict(zip([arm.title for arm in arms], theme.sizes(len(arms)), strict=True))
        colour_of = colours(arms) if title == "penalties" else hues
        entries = []
        for arm in arms:
            rows = after[(after["method"] == arm.method) & (after["label"] == arm.label)]
            plot.curve(panel, rows, "kl", colour_of[arm.title], x="full_steps", band=0)
            name = short_title(arm) if title == "penalties" else arm.title
            entries.append(theme.key(name, colour_of[arm.title], linewidth=2))
        draw_guides(panel, table, rule)
        theme.letter(panel, title)
        panel.legend(handles=entries, loc="lower right", handlelength=1.4, fontsize=6.5)
    axes[0].set_ylabel(kl_axis(table["kl_estimator"]))
    return figure


def draw_guides(panel: Axes, table: pd.DataFrame, rule: Mapping[str, float]) -> None:
    """Shade the range of the fit, and draw a line of slope 2 above the curves."""
    mean = table[(table["curve"] == "mean") & (table["full_steps"] > 0)]
    steps = np.array([mean["full_steps"].min(), mean["full_steps"].max()])
    fitted = mean[mean["kl"].between(rule["from_kl"], rule["to_kl"])]
    above = 2.5 * float((fitted["kl"] / fitted["full_steps"] ** 2).max())
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.axhspan(rule["from_kl"], rule["to_kl"], color="0.95", linewidth=0, zorder=0)
    panel.plot(steps, above * steps**2, color="0.3", linewidth=0.8, linestyle=theme.DOTTED, zorder=1)
    middle = float(np.sqrt(steps.prod()))
    panel.text(middle, above * middle**2 * 1.2, "KL ~ steps²", color="0.3", fontsize=6.5, ha="right")
    panel.set_ylim(rule["from_kl"] / 10, float(mean["kl"].max()) * 3)
    panel.set_xlim(steps[0] * 0.9, steps[1] * 1.1)
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.set_xlabel("optimiser steps at full learning rate")
