"""KL against optimiser steps, under penalties and over reward-model sizes (2210.10760, Figures 14 and 16)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from analysis.best_of_n.curves import kl_axis
from analysis.drawing import theme
from analysis.drawing.penalty_colours import colours
from analysis.drawing.result import FigureResult
from analysis.runs.arms import MAIN, Arm, Study, study
from analysis.runs.equal_kl import distance
from analysis.runs.penalties import coefficient, families, in_short
from analysis.runs.tables import points_table
from analysis.statistics.claims import Claim, Thresholds, by_equivalence, exceeds, thresholds
from analysis.statistics.resampling import weights_of
from rlhf_lab.functional.intervals import Estimate, Interval
from rlhf_lab.store.records import MissingRuns, Run

Floats = NDArray[np.float64]

NAME = "gao2022_fig14"
SWEEPS = ("gao2022_fig9", "gao2022_fig1")

FEWEST_POINTS = 3  # of a slope


def make(runs: Sequence[Run]) -> FigureResult:
    """KL over steps of every policy that is trained step by step, and how it grows."""
    trained = [run for run in runs if "steps" in run.config["policy"]]
    if not trained:
        raise MissingRuns("no run is trained by steps")
    read = study(trained)
    arms = read.arms
    limits = thresholds(NAME)
    table = points_table(read)
    warmup = table["method"].map({arm.method: arm.settings.get("warmup", 0) for arm in arms})
    table["full_steps"] = full_steps(table["n_or_step"].to_numpy(), warmup.to_numpy())
    return FigureResult(
        table, growth_table(arms, limits), claims(read, arms, limits), draw(read, arms, table, limits)
    )


def full_steps(steps: NDArray[Any], warmup: NDArray[Any] | float) -> Floats:
    """Optimiser steps counted by their share of the learning rate, which rises linearly over the warm-up."""
    begun = np.minimum(steps, warmup)
    return steps - begun + begun**2 / (2 * np.maximum(warmup, 1))


# --- claims -------------------------------------------------------------------------------------------------


def claims(read: Study, arms: Sequence[Arm], limits: Thresholds) -> list[Claim]:
    """KL grows with the square of the steps where nothing is penalised, and stops under the largest of several
    penalties.
    """
    found = [_square(arm, limits) for arm in arms if arm.kind == MAIN]
    several = [family for family in families(read).values() if len(family) > 2]  # the first has no penalty
    largest = [max(family, key=coefficient) for family in several]
    return found + [_plateau(arm, limits) for arm in largest]


def _square(arm: Arm, limits: Thresholds) -> Claim:
    rule = limits["square_of_step"]
    found = slope(arm, rule["from_kl"], rule["to_kl"])
    return by_equivalence(
        f"{arm.title}: KL grows with the square of the optimiser steps, KL {rule['from_kl']:g} to {rule['to_kl']:g}",
        found,
        *(2 - rule["margin"], 2 + rule["margin"], arm.questions),
        unit="slope of log KL against log steps",
        subject=arm.title,
        topic="KL ~ step^2",
    )


def _plateau(arm: Arm, limits: Thresholds) -> Claim:
    share, found = limits["plateau"]["share"], late_share(arm)
    interval = found.interval()
    return Claim(
        claim=f"{arm.title}: KL stands still, less than {share:.0%} of it is gained in the last third of the steps",
        measured=found.value,
        interval=interval,
        threshold=share,
        n=arm.questions,
        replicates=found.replicates,
        met=exceeds(Interval(-interval.hi, -interval.lo), -share),
        rule=f"met: interval below {share:g}; not met: not below; a square of the steps gives .56",
        unit="share of the KL at the last checkpoint",
        subject=arm.title,
        topic="plateau",
        conditional=found.is_conditional,
    )


def slope(arm: Arm, from_kl: float, to_kl: float) -> Estimate:
    """Least squares of log KL on log steps at full learning rate, over checkpoints past the warm-up with KL in
    a range.
    """
    warmup = arm.settings.get("warmup", 0)
    draws = []
    for steps, kl in _courses(arm):
        inside = (steps > warmup) & (kl >= from_kl) & (kl <= to_kl)
        x = np.broadcast_to(np.log(np.maximum(full_steps(steps, warmup), 1)), kl.shape)
        draws.append(_slopes(x, np.log(np.where(inside, kl, 1)), inside))
    return Estimate.of(np.stack(draws, axis=1))


def _slopes(x: Floats, y: Floats, inside: NDArray[np.bool_]) -> Floats:
    """(B,): of each row, over the points inside; NaN where they are too few."""
    count = inside.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        dx, dy = (
            np.where(inside, z - (z * inside).sum(axis=1, keepdims=True) / count[:, None], 0) for z in (x, y)
        )
        return np.where(count >= FEWEST_POINTS, (dx * dy).sum(axis=1) / (dx**2).sum(axis=1), np.nan)


def late_share(arm: Arm) -> Estimate:
    """KL at the last checkpoint less that two thirds of the way there, as a share of the former."""
    draws = []
    for steps, kl in _courses(arm):
        before = np.argmin(np.abs(steps - steps[-1] * 2 / 3))
        draws.append(1 - kl[:, before] / kl[:, -1])
    return Estimate.of(np.stack(draws, axis=1))


def _courses(arm: Arm) -> list[tuple[Floats, Floats]]:
    """Of each replicate its steps (K,) and KL (B, K) in every draw of questions."""
    weights = weights_of(arm.drawn.resamples, arm.questions)
    return [(curves.points.astype(float), distance(curves, weights, None) ** 2) for curves in arm.curves]


def growth_table(arms: Sequence[Arm], limits: Thresholds) -> pd.DataFrame:
    """Slope and late share of every arm, with 95 % intervals."""
    rule = limits["square_of_step"]
    rows: list[dict[str, Any]] = []
    for arm in arms:
        measured = {
            "slope of log KL against log steps": slope(arm, rule["from_kl"], rule["to_kl"]),
            "share of KL gained in the last third": late_share(arm),
        }
        for name, found in measured.items():
            lo, hi = found.interval()
            about = {"method": arm.method, "rm": arm.rm, "label": arm.label, "form": "growth of KL"}
            about |= {"n": arm.questions, "replicates": found.replicates}
            rows.append(about | {"parameter": name, "estimate": found.value, "lo": lo, "hi": hi})
    return pd.DataFrame(rows)


# --- ink ----------------------------------------------------------------------------------------------------


def draw(read: Study, arms: Sequence[Arm], table: pd.DataFrame, limits: Thresholds) -> Figure:
    """Log-log, thin lines of replicates; the grey strip is where the slope is fitted, the dotted line has
    slope 2.
    """
    penalties = {arm.title: arm for family in families(read).values() for arm in family}
    sizes = [arm for arm in arms if arm.kind == MAIN]
    shown = {"penalties": list(penalties.values())} if penalties else {}
    if not penalties or len(sizes) > 1:
        shown["no penalty, by reward model"] = sizes
    figure, axes = theme.panels(len(shown), 3.3)
    for panel, (title, of) in zip(axes, shown.items(), strict=True):
        palette = colours(of) if title == "penalties" else _by_size(of)
        for arm in of:
            rows = table[(table["method"] == arm.method) & (table["label"] == arm.label)]
            _draw_course(panel, rows, palette[arm.title])
        _guides(panel, table, limits)
        theme.letter(panel, title)
        names = [in_short(arm) if title == "penalties" else arm.title for arm in of]
        panel.legend(
            handles=[
                theme.key(name, palette[arm.title], linewidth=2) for name, arm in zip(names, of, strict=True)
            ],
            **{"loc": "lower right", "handlelength": 1.4, "fontsize": 6.5},
        )
    axes[0].set_ylabel(kl_axis(table["kl_estimator"]))
    return figure


def _by_size(arms: Sequence[Arm]) -> dict[str, Any]:
    return dict(zip([arm.title for arm in arms], theme.sizes(len(arms)), strict=True))


def _draw_course(panel: Axes, rows: pd.DataFrame, colour: Any) -> None:
    after = rows[(rows["full_steps"] > 0) & (rows["kl"] > 0)]
    for _, one in after[after["curve"] == "replicate"].groupby("replicate", sort=False):
        panel.plot(one["full_steps"], one["kl"], color=colour, linewidth=0.5, alpha=0.4)
    mean = after[after["curve"] == "mean"]
    panel.plot(mean["full_steps"], mean["kl"], color=colour, linewidth=1.6)


def _guides(panel: Axes, table: pd.DataFrame, limits: Thresholds) -> None:
    """The range of the fit, and above the curves a line of slope 2."""
    rule = limits["square_of_step"]
    mean = table[(table["curve"] == "mean") & (table["full_steps"] > 0)]
    steps = np.array([mean["full_steps"].min(), mean["full_steps"].max()])
    fitted = mean[mean["kl"].between(rule["from_kl"], rule["to_kl"])]
    above = 2.5 * float((fitted["kl"] / fitted["full_steps"] ** 2).max())
    panel.set_xscale("log")
    panel.set_yscale("log")
    floor, top = rule["from_kl"] / 10, float(mean["kl"].max()) * 2
    panel.axhspan(rule["from_kl"], rule["to_kl"], color="0.95", linewidth=0, zorder=0)
    panel.plot(steps, above * steps**2, color="0.3", linewidth=0.8, linestyle=theme.DOTTED, zorder=1)
    start = float(np.sqrt(rule["from_kl"] / above))
    panel.text(start * 1.15, rule["from_kl"] * 2.6, "KL ~ steps²", color="0.3", fontsize=6.5, ha="right")
    panel.set_ylim(floor, top * 1.5)
    panel.set_xlim(steps[0] * 0.9, steps[1] * 1.1)
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.set_xlabel("optimiser steps at full learning rate")
