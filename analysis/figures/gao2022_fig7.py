"""Policies of several sizes against the same reward models, best-of-n and PPO (2210.10760, Figure 7).

Everything is in one unit, that of the smaller initial policy: SDs of its gold, the drawn proxy in its SDs within a
prompt, and the proxy that gold is subtracted from by its slope of gold on the proxy within a prompt. Each policy's
curves begin at 0, where it begins itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import ColorType
from numpy.typing import NDArray

from analysis.best_of_n.curves import kl_axis
from analysis.drawing import ablation_panels, plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import MAIN, Arm, Study, common_seeds, study, title
from analysis.runs.equal_kl import Difference, Path, pairs, path_difference
from analysis.runs.fitting import distances, enough_points, kl_axes, refits
from analysis.runs.rank_order import peak_gold
from analysis.runs.tables import estimate_row, points_table
from analysis.statistics.claims import ClaimTable
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

Floats = NDArray[np.float64]

NAME = "gao2022_fig7"
SWEEPS = ("gao2022_fig7",)

UNIT = "SDs of gold on the smaller initial policy"
GAP = "proxy minus gold at equal KL, larger minus smaller"
RATIO = "KL of gold's fitted peak, larger over smaller"


class Pair(NamedTuple):
    """Two policies against the same reward models, replicate by replicate, in the unit of the smaller."""

    small: Arm
    large: Arm

    def name(self, axis: str = "exact") -> str:
        """Method, sizes and, of best-of-n, the KL in words."""
        kl = "" if axis == "exact" else f", {axis} KL"
        sizes = f"{self.large.policy} against {self.small.policy} policy"
        return f"{title(self.large.method)}, {sizes}, {self.large.reward}{kl}"


class Peak(NamedTuple):
    """Where the fitted forms of two policies have their peaks."""

    ratio: Estimate  # log of the larger policy's KL over the smaller's
    inside: float  # share of draws with both peaks inside what was fitted


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw gold and proxy over KL, a panel for each method and a colour for each policy."""
    data = study(runs)
    compared = pairs_of_sizes(data)
    if not compared:
        raise MissingRuns("no policies of two sizes are made against the same reward models")
    claims = ClaimTable(NAME, UNIT)
    for pair in compared:
        claim_gains_less(claims, pair)
        for axis in kl_axes(pair.large):
            claim_same_peak(claims, pair, axis)
            claim_same_gap(claims, pair, axis)
    shown = Study(tuple({arm.title: arm for pair in compared for arm in pair}.values()))
    table = points_table(shown)
    figure = draw(shown, table)
    return FigureResult(table, differences_table(compared), claims, figure, checks.run_notes(data))


def pairs_of_sizes(data: Study) -> list[Pair]:
    """Return every larger policy with the smallest that meets the same reward models and has the same seeds."""
    found: dict[tuple[str, str], list[Arm]] = {}
    for arm in sorted((arm for arm in data.arms if arm.kind == MAIN), key=lambda arm: arm.policy_parameters):
        found.setdefault((arm.method, arm.reward), []).append(arm)
    return [
        pair_of(small, large) for small, *larger in found.values() for large in larger if pairs(small, large)
    ]


def pair_of(small: Arm, large: Arm) -> Pair:
    """Return two policies with their common replicates, the larger one's curves in the unit of the smaller."""
    seeds = common_seeds([small, large])
    small, large = small.of_seeds(seeds), large.of_seeds(seeds)
    in_its_unit = tuple(
        replace(mine, initial=its.initial) for mine, its in zip(large.curves, small.curves, strict=True)
    )
    return Pair(small, replace(large, curves=in_its_unit))


# --- numbers ------------------------------------------------------------------------------------------------


def gains(arm: Arm) -> tuple[Floats, float]:
    """Return (B, R), gold of each replicate from its start to its peak, and how often the highest point is the last.

    Where it is the last point, the gain is this or more.
    """
    gold = np.stack([curves.values["gold"] for curves in arm.drawn.replicates], axis=1)  # (B, R, K)
    return peak_gold(arm), float((gold.argmax(axis=2) == gold.shape[2] - 1).mean())


def peak_kl(pair: Pair, axis: str) -> Peak | None:
    """Return the peaks of the forms refitted in every draw; a peak outside what was fitted is put at its end."""
    if not all(enough_points(arm, axis) for arm in pair):
        return None
    small, large = (refits(arm, axis) for arm in pair)
    inside = [(fit.peak_d > fit.shortest) & (fit.peak_d < fit.longest) for fit in (small, large)]
    d_small, d_large = (np.clip(fit.peak_d, fit.shortest, fit.longest) for fit in (small, large))
    return Peak(Estimate.of(2 * np.log(d_large / d_small)), float((inside[0] & inside[1]).mean()))


def gap(pair: Pair, axis: str) -> Difference:
    """Return proxy minus gold of the larger policy less that of the smaller, at equal KL."""
    difference = path_difference(
        list(zip(gap_paths(pair.large, axis), gap_paths(pair.small, axis), strict=True))
    )
    assert difference is not None
    return difference


def gap_paths(arm: Arm, axis: str) -> list[Path]:
    """Return proxy minus gold of each replicate over d; of best-of-n where that KL can be estimated."""
    paths = []
    for d, run, curves in zip(distances(arm, axis), arm.drawn.replicates, arm.curves, strict=True):
        good = curves.kl_good if axis == "tie-aware" else np.ones_like(curves.kl_good)
        paths.append(Path(d[:, good], (run.values["recalibrated"] - run.values["gold"])[:, good]))
    return paths


def differences_table(compared: Sequence[Pair]) -> pd.DataFrame:
    """Return a row for each pair, number and KL, with its 95 % interval and how far it can be trusted."""
    rows: list[dict[str, Any]] = []

    def add(pair: Pair, parameter: str, axis: str, estimate: Estimate, note: str) -> None:
        """Add the row of one difference between the policies of a pair."""
        rows.append(
            estimate_row(pair.large, "paired by seeds", parameter, estimate) | {"x": axis, "note": note}
        )

    for pair in compared:
        (small, last), (large, later) = (gains(arm) for arm in pair)
        note = f"last point the highest in {last:.0%} of draws of the smaller, {later:.0%} of the larger"
        add(pair, "gain to the peak, smaller minus larger", "", Estimate.of(small - large), note)
        for axis in kl_axes(pair.large):
            peak, difference = peak_kl(pair, axis), gap(pair, axis)
            if peak is not None:
                add(pair, f"log {RATIO}", axis, peak.ratio, f"inside in {peak.inside:.0%} of draws")
            add(pair, GAP, axis, difference.estimate, f"up to KL {difference.reach.mean():.3g}")
    return pd.DataFrame(rows)


# --- claims -------------------------------------------------------------------------------------------------


def claim_gains_less(claims: ClaimTable, pair: Pair) -> None:
    """Claim `gains_less`; undecided instead of met where the larger policy may gain more beyond its last point."""
    (small, _), (large, later) = (gains(arm) for arm in pair)
    claim = claims.above(
        "gains_less",
        pair.name(),
        "the larger policy gains less gold from its start to its peak",
        Estimate.of(small - large),
        pair.large.questions,
        "gains less",
    )
    if claim.met and later > claims.limits["gains_less"]["last"]:
        claims[-1] = replace(claim, met=None)


def claim_same_peak(claims: ClaimTable, pair: Pair, axis: str) -> None:
    """Claim `same_peak_kl`, of the ratio of the KLs at which the fitted forms peak; decided on its logarithm."""
    rule, peak = claims.limits["same_peak_kl"], peak_kl(pair, axis)
    if peak is None:
        return
    claims.equivalent(
        "same_peak_kl",
        pair.name(axis),
        f"gold peaks at KLs of a ratio between {rule['lo']:g} and {rule['hi']:g} (peaks of the fitted forms)",
        peak.ratio,
        pair.large.questions,
        "same peak KL",
        lo=float(np.log(rule["lo"])),
        hi=float(np.log(rule["hi"])),
        unit="log of the ratio of KL",
        enough=peak.inside >= rule["inside"],
    )


def claim_same_gap(claims: ClaimTable, pair: Pair, axis: str) -> None:
    """Claim `same_gap`: proxy minus gold is the same at equal KL, over a range of enough KL."""
    difference = gap(pair, axis)
    reach = float(difference.reach.mean())
    claims.equivalent(
        "same_gap",
        pair.name(axis),
        f"proxy minus gold is the same at equal KL, up to KL {reach:.2g}",
        difference.estimate,
        pair.large.questions,
        "same gap",
        enough=reach >= claims.limits["same_gap"]["least_kl"],
    )


# --- drawing ------------------------------------------------------------------------------------------------


def draw(shown: Study, table: pd.DataFrame) -> Figure:
    """Draw gold (solid, 95 % band) and proxy (dashed) over KL; below them, the peaks of the fitted forms."""
    policies = [policy for _, policy in sorted({(arm.policy_parameters, arm.policy) for arm in shown.arms})]
    colours: dict[str, ColorType] = dict(zip(policies, theme.sizes(len(policies)), strict=True))
    means = table[table["curve"] == "mean"]
    figure, panels = theme.panels(len(shown.methods), 3.4)
    for panel, method in zip(panels, shown.methods, strict=True):
        rows = means[means["method"] == method]
        for row, arm in enumerate(shown.of(method)):
            ablation_panels.gold_and_proxy(panel, rows[rows["label"] == arm.label], colours[arm.policy])
            draw_fitted_peak(panel, arm, colours[arm.policy], 0.03 + 0.035 * row)
        theme.square_root_nats(panel, rows["kl"].max())
        panel.axhline(0, color="0.8", linewidth=0.6, zorder=0)
        panel.set_xlabel(kl_axis(rows["kl_estimator"]))
        panel.margins(y=0.14)
        theme.letter(panel, title(method))
    panels[0].set_ylabel("reward (SDs of the smaller policy's gold)")
    entries = [theme.key(f"{policy} policy", colour, linewidth=2) for policy, colour in colours.items()]
    fitted = theme.key("peak of the fit, 95 %", marker="|")
    plot.legend(figure, [*entries, *ablation_panels.curve_keys(), fitted])
    return figure


def draw_fitted_peak(panel: Axes, arm: Arm, colour: ColorType, height: float) -> None:
    """Draw, low in the panel, where the form fitted to each replicate peaks on average, with its 95 % interval."""
    axis = kl_axes(arm)[0]
    if not enough_points(arm, axis):
        return
    fit = refits(arm, axis)
    d = Estimate.of(np.log(np.clip(fit.peak_d, fit.shortest, fit.longest)))
    lo, hi = np.exp(2 * np.array(d.interval()))
    low = panel.get_xaxis_transform()
    panel.plot([lo, hi], [height, height], color=colour, linewidth=1.2, transform=low)
    panel.plot(
        np.exp(2 * d.value), height, "|", color=colour, markersize=6, markeredgewidth=1.6, transform=low
    )
