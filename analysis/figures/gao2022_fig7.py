"""Policies of several sizes against the same reward models, best-of-n and PPO (2210.10760, Figure 7).

Everything is in one unit, that of the smaller initial policy: SDs of its gold, and the proxy by its slope of gold on
the proxy within a prompt. Each policy's curves begin at 0, where it begins itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.best_of_n.curves import kl_axis
from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import MAIN, Arm, Study, common_seeds, study, title
from analysis.runs.equal_kl import Difference, Path, pairs, path_difference
from analysis.runs.fitting import distances, enough_points, kl_axes, refits
from analysis.runs.tables import points_table
from analysis.statistics.claims import Claim, Thresholds, by_equivalence, by_estimate, thresholds
from rlhf_lab.functional.intervals import Estimate, Interval
from rlhf_lab.store.records import MissingRuns, Run

Floats = NDArray[np.float64]

NAME = "gao2022_fig7"
SWEEPS = ("gao2022_fig7",)

UNIT = "SDs of gold on the smaller initial policy"
GAP, RATIO = (
    "proxy minus gold at equal KL, larger minus smaller",
    "KL of gold's fitted peak, larger over smaller",
)


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
    """Gold and proxy over KL, a panel a method and a colour a policy."""
    read = study(runs)
    found = compared(read)
    if not found:
        raise MissingRuns("no policies of two sizes are made against the same reward models")
    shown = Study(tuple({arm.title: arm for pair in found for arm in pair}.values()))
    table, limits = points_table(shown), thresholds(NAME)
    fits = differences_table(found)
    return FigureResult(table, fits, claims(found, limits), draw(shown, table), checks.kl_bound_notes(read))


def compared(read: Study) -> list[Pair]:
    """Every larger policy with the smallest that meets the same reward models."""
    found: dict[tuple[str, str], list[Arm]] = {}
    for arm in sorted((arm for arm in read.arms if arm.kind == MAIN), key=lambda arm: arm.policy_parameters):
        found.setdefault((arm.method, arm.reward), []).append(arm)
    return [pair for small, *larger in found.values() for large in larger for pair in _pair(small, large)]


def _pair(small: Arm, large: Arm) -> list[Pair]:
    seeds = common_seeds([small, large])
    if not pairs(small, large):
        return []
    small, large = small.of_seeds(seeds), large.of_seeds(seeds)
    in_its_unit = tuple(
        replace(mine, initial=its.initial) for mine, its in zip(large.curves, small.curves, strict=True)
    )
    return [Pair(small, replace(large, curves=in_its_unit))]


# --- numbers ------------------------------------------------------------------------------------------------


def gains(arm: Arm) -> tuple[Floats, float]:
    """(B, R): gold of the highest point of each replicate, above its start; the share of draws where that is the
    last point, so that the gain is this or more.
    """
    gold = np.stack([one.values["gold"] for one in arm.drawn.replicates], axis=1)  # (B, R, K)
    return gold.max(axis=2), float((gold.argmax(axis=2) == gold.shape[2] - 1).mean())


def peak_kl(pair: Pair, axis: str) -> Peak | None:
    """Peaks of the forms, refitted to each replicate in every draw; one outside what was fitted is put at its end."""
    if not all(enough_points(arm, axis) for arm in pair):
        return None
    small, large = (refits(arm, axis) for arm in pair)
    within = [(one.peak_d > one.shortest) & (one.peak_d < one.longest) for one in (small, large)]
    d = [np.clip(one.peak_d, one.shortest, one.longest) for one in (small, large)]
    return Peak(Estimate.of(2 * np.log(d[1] / d[0])), float((within[0] & within[1]).mean()))


def gap(pair: Pair, axis: str) -> Difference:
    """Proxy minus gold of the larger policy less that of the smaller, at equal KL."""
    found = path_difference(list(zip(_gaps(pair.large, axis), _gaps(pair.small, axis), strict=True)))
    assert found is not None
    return found


def _gaps(arm: Arm, axis: str) -> list[Path]:
    """Proxy minus gold of each replicate over d; of best-of-n where that KL holds."""
    every = axis != "tie-aware"
    return [
        Path(d[:, good], (run.values["proxy"] - run.values["gold"])[:, good])
        for d, run, curves in zip(distances(arm, axis), arm.drawn.replicates, arm.curves, strict=True)
        for good in (curves.kl_good | every,)
    ]


def differences_table(found: Sequence[Pair]) -> pd.DataFrame:
    """One row a pair and number, with its 95 % interval."""
    rows: list[dict[str, Any]] = []
    for pair in found:
        (small, last), (large, later) = (gains(arm) for arm in pair)
        note = f"last point the highest in {last:.0%} of draws of the smaller, {later:.0%} of the larger"
        rows.append(
            _row(pair, "gain to the peak, smaller minus larger", "", Estimate.of(small - large), note)
        )
        for axis in kl_axes(pair.large):
            peak, difference = peak_kl(pair, axis), gap(pair, axis)
            if peak is not None:
                rows.append(
                    _row(pair, f"log {RATIO}", axis, peak.ratio, f"inside in {peak.inside:.0%} of draws")
                )
            reach = f"up to KL {difference.reach.mean():.3g}"
            rows.append(_row(pair, GAP, axis, difference.estimate, reach))
    return pd.DataFrame(rows)


def _row(pair: Pair, parameter: str, axis: str, found: Estimate, note: str) -> dict[str, Any]:
    lo, hi = found.interval()
    about = {"method": pair.large.method, "rm": pair.large.rm, "label": pair.large.label, "x": axis}
    about |= {"form": "paired by seeds", "parameter": parameter, "estimate": found.value, "lo": lo, "hi": hi}
    return about | {"n": pair.large.questions, "replicates": found.replicates, "note": note}


# --- claims -------------------------------------------------------------------------------------------------


def claims(found: Sequence[Pair], limits: Thresholds) -> list[Claim]:
    """Of each pair: the larger gains less, peaks at the same KL, and has the same gap of proxy and gold."""
    made: list[Claim] = []
    for pair in found:
        made.append(_gains_less(pair, limits))
        for axis in kl_axes(pair.large):
            made += _same_peak(pair, axis, limits)
            made.append(_same_gap(pair, axis, limits))
    return made


def _gains_less(pair: Pair, limits: Thresholds) -> Claim:
    rule = limits["gains_less"]
    (small, _), (large, later) = (gains(arm) for arm in pair)
    claim = by_estimate(
        f"{pair.name()}: the larger policy gains less gold from its start to its peak",
        *(Estimate.of(small - large), rule, pair.large.questions),
        unit=UNIT,
        subject=pair.name(),
        topic="gains less",
    )
    open_end = claim.met is True and later > rule["last"]  # it may gain more yet
    return replace(claim, met=None if open_end else claim.met)


def _same_peak(pair: Pair, axis: str, limits: Thresholds) -> list[Claim]:
    rule, found = limits["same_peak_kl"], peak_kl(pair, axis)
    if found is None:
        return []
    claim = by_equivalence(
        f"{pair.name(axis)}: gold peaks at the same KL (ratio, peaks of the fitted forms)",
        found.ratio,
        *(np.log(rule["lo"]), np.log(rule["hi"]), pair.large.questions),
        enough=found.inside >= rule["inside"] and found.ratio.replicates >= rule["replicates"],
        unit="ratio of KL",
        subject=pair.name(axis),
        topic="same peak KL",
    )
    return [
        replace(
            claim,
            measured=float(np.exp(claim.measured)),
            interval=Interval(*(float(np.exp(bound)) for bound in claim.interval)),
            threshold=rule["hi"],
            rule=f"met: 90 % interval inside [{rule['lo']:g}, {rule['hi']:g}]; not met: outside; else, and where a "
            f"peak is beyond what was fitted in more than {1 - rule['inside']:.0%} of draws, undecided",
        )
    ]


def _same_gap(pair: Pair, axis: str, limits: Thresholds) -> Claim:
    rule, found = limits["same_gap"], gap(pair, axis)
    reach = float(found.reach.mean())
    return by_equivalence(
        f"{pair.name(axis)}: proxy minus gold is the same at equal KL, up to KL {reach:.2g}",
        found.estimate,
        *(-rule["margin"], rule["margin"], pair.large.questions),
        enough=reach >= rule["least_kl"] and found.estimate.replicates >= rule["replicates"],
        unit=UNIT,
        subject=pair.name(axis),
        topic="same gap",
    )


# --- ink ----------------------------------------------------------------------------------------------------


def draw(shown: Study, table: pd.DataFrame) -> Figure:
    """Gold (solid, 95 % band) and proxy (dashed) over KL, a panel a method; below, the peaks of the fitted forms."""
    policies = sorted({(arm.policy_parameters, arm.policy) for arm in shown.arms})
    colour: dict[str, Any] = dict(
        zip([policy for _, policy in policies], theme.sizes(len(policies)), strict=True)
    )
    figure, panels = theme.panels(len(shown.methods), 3.4)
    for panel, method in zip(panels, shown.methods, strict=True):
        _draw_method(panel, shown.of(method), table, colour)
        theme.letter(panel, title(method))
    panels[0].set_ylabel("reward (SDs of the smaller policy's gold)")
    handles = [theme.key(f"{policy} policy", hue, linewidth=2) for policy, hue in colour.items()]
    handles += [
        theme.key("gold, 95 % band", linewidth=1.5),
        theme.key("proxy, rescaled", linestyle=theme.DASHED, linewidth=0.9),
        theme.key("gold's peak", marker="o"),
        theme.key("peak at this KL or later", marker=">"),
        theme.key("peak of the fit, 95 %", marker="|"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, handlelength=2.0, columnspacing=1.4)
    return figure


def _draw_method(panel: Axes, arms: Sequence[Arm], table: pd.DataFrame, colour: dict[str, Any]) -> None:
    means = table[(table["curve"] == "mean") & (table["method"] == arms[0].method)]
    for row, arm in enumerate(arms):
        rows, hue = means[means["label"] == arm.label], colour[arm.policy]
        theme.curve(panel, rows, hue)
        theme.curve(panel, rows, hue, "proxy")
        peak = rows.iloc[int(rows["gold"].to_numpy().argmax())]
        last = peak["n_or_step"] == rows["n_or_step"].iloc[-1]
        theme.mark(panel, peak["kl"], peak["gold"], hue, ">" if last else "o")
        _draw_fitted_peak(panel, arm, hue, 0.03 + 0.035 * row)
    theme.square_root_nats(panel, means["kl"].max())
    panel.axhline(0, color="0.8", linewidth=0.6, zorder=0)
    panel.set_xlabel(kl_axis(means["kl_estimator"]))
    panel.margins(y=0.14)


def _draw_fitted_peak(panel: Axes, arm: Arm, hue: Any, height: float) -> None:
    """Where the form fitted to each replicate peaks, on average, low in the panel."""
    axis = kl_axes(arm)[0]
    if not enough_points(arm, axis):
        return
    found = refits(arm, axis)
    d = Estimate.of(np.log(np.clip(found.peak_d, found.shortest, found.longest)))
    lo, hi = np.exp(2 * np.array(d.interval()))
    low = panel.get_xaxis_transform()
    panel.plot([lo, hi], [height, height], color=hue, linewidth=1.2, transform=low)
    panel.plot(np.exp(2 * d.value), height, "|", color=hue, markersize=6, markeredgewidth=1.6, transform=low)
