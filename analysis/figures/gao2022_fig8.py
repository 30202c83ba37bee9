"""Gold against proxy, best-of-n and PPO, and how far apart they lie on that axis and on KL's (2210.10760, Figure 8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import ColorType
from numpy.typing import NDArray

from analysis.drawing import plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import BEST_OF_N, FEW_PAIRS, MAIN, Arm, Study, arm_by, study, title
from analysis.runs.equal_kl import Path, bound_of
from analysis.runs.gold_lost import split
from analysis.runs.naming import GOLD_SDS
from analysis.runs.tables import estimate_row, points_table
from analysis.statistics.claims import ClaimTable
from analysis.statistics.resampling import Bootstrapped
from analysis.statistics.turnover import turnover
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

Floats = NDArray[np.float64]

NAME = "gao2022_fig8"
SWEEPS = ("gao2022_fig1",)

PLACES = 101  # at which two curves are compared, even over the common range
AXES = {"tie-aware": "KL, plug-in", "bound": "KL, bound", "proxy": "proxy"}


class Pair(NamedTuple):
    """Best-of-n and another method against the same reward models."""

    best_of_n: Arm
    other: Arm

    @property
    def title(self) -> str:
        """Both methods and the reward model in words."""
        return f"best-of-n and {title(self.other.method)}, {self.other.label}"

    def report(self, draws: Floats) -> Bootstrapped:
        """Return a number (B,) of the pair, first as it is and then in every draw, as it is reported."""
        return Bootstrapped(float(draws[0]), draws[1:], min(len(arm.curves) for arm in self))


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw gold over proxy, a panel for each reward model, and the distance of the two methods on each axis."""
    data = study(runs)
    compared = pairs(data)
    if not compared:
        raise MissingRuns("no reward model has runs of best-of-n and of another method")
    arms = tuple({arm.title: arm for pair in compared for arm in pair}.values())
    claims = ClaimTable(NAME, GOLD_SDS)
    for pair in compared:
        claim_closer(claims, pair)
        claim_larger_gap(claims, pair)
    for arm in arms:
        claim_hump(claims, arm)
    rows = []
    for pair in compared:
        measured = {f"distance of gold over {words}": distance(pair, axis) for axis, words in AXES.items()}
        measured["gold of best-of-n minus other at equal proxy, first third"] = start_gap(pair)
        for parameter, number in measured.items():
            rows.append(estimate_row(pair.other, "best-of-n against it", parameter, pair.report(number)))
    table, fits = points_table(Study(arms)), pd.DataFrame(rows)
    figure = draw(compared, table, fits)
    return FigureResult(table, fits, claims, figure, checks.run_notes(data))


def pairs(data: Study) -> list[Pair]:
    """Return every arm of a trained method with best-of-n against the same reward models; no drift control."""
    best = arm_by(data.of(BEST_OF_N, MAIN, FEW_PAIRS), lambda arm: arm.reward)
    others = [arm for arm in data.arms if arm.method != BEST_OF_N and arm.kind in (MAIN, FEW_PAIRS)]
    return [Pair(best[arm.reward], arm) for arm in others if arm.reward in best]


# --- numbers ------------------------------------------------------------------------------------------------


def distance(pair: Pair, axis: str) -> Floats:
    """Return (B,), the mean absolute difference of gold over the range that both methods reach, in every draw.

    Each axis is scaled to its common range, so that a distance is in SDs of gold on every axis.
    """
    return np.abs(differences(pair, axis, 1.0)).mean(axis=1)


def start_gap(pair: Pair) -> Floats:
    """Return (B,), gold of best-of-n minus the other's at equal proxy, over the first third of what both reach."""
    return differences(pair, "proxy", 1 / 3).mean(axis=1)


def differences(pair: Pair, axis: str, share: float) -> Floats:
    """Return (B, PLACES), gold of best-of-n minus the other's, even over the first `share` of the common range."""
    first, second = path(pair.best_of_n, axis), path(pair.other, axis)
    reach = np.minimum(first.d.max(axis=1), second.d.max(axis=1))
    at = reach[:, None] * np.linspace(0, share, PLACES)
    return first.at(at) - second.at(at)


def path(arm: Arm, axis: str) -> Path:
    """Return the mean curve of an arm over an axis; of best-of-n where its KL can be estimated, n <= N/4."""
    drawn, good = arm.drawn.mean(), np.logical_and.reduce([curves.kl_good for curves in arm.curves])
    kl = bound_of(arm, axis)
    place = drawn.values["recalibrated"] if axis == "proxy" else drawn.d if kl is None else np.sqrt(kl)
    gold = drawn.values["gold"]
    return Path(np.broadcast_to(place, gold.shape)[:, good], gold[:, good])


# --- claims -------------------------------------------------------------------------------------------------


def claim_closer(claims: ClaimTable, pair: Pair) -> None:
    """Claim `closer_on_proxy`, of the smaller of the two distances over KL in every draw: it has to hold under both."""
    over_kl = np.minimum(distance(pair, "tie-aware"), distance(pair, "bound"))
    sentence = "gold is closer at equal proxy than at equal KL, tie-aware and by the bound"
    claims.above(
        "closer_on_proxy",
        pair.title,
        sentence,
        pair.report(over_kl - distance(pair, "proxy")),
        pair.other.questions,
        "closer on the proxy axis",
        threshold=claims.limits["closer_on_proxy"]["difference"],
    )


def claim_larger_gap(claims: ClaimTable, pair: Pair) -> None:
    """Claim `larger_gap_at_start`: the other method starts with less gold at equal proxy than best-of-n."""
    claims.above(
        "larger_gap_at_start",
        pair.title,
        f"{title(pair.other.method)} starts with the larger gap of proxy and gold, at equal proxy",
        pair.report(start_gap(pair)),
        pair.other.questions,
        "larger gap at the start",
        threshold=claims.limits["larger_gap_at_start"]["difference"],
    )


def claim_hump(claims: ClaimTable, arm: Arm) -> None:
    """Claim `hump`: gold falls from its peak while the proxy rises on; best-of-n's proxy does by construction."""
    half, proxy = split(arm), arm.stacked("proxy")
    gold = turnover(arm.stacked("gold"), half)
    past = proxy[:, :, -1] - np.take_along_axis(proxy, gold.place(half)[:, :, None], axis=2)[:, :, 0]
    rise = Estimate.of_questions(past, half)
    claims.all_above(
        "hump",
        arm.title,
        "gold has a hump over the proxy: it rises to a peak and falls while the proxy still rises, each",
        [gold.rise, gold.fall] if arm.method == BEST_OF_N else [gold.rise, gold.fall, rise],
        arm.questions,
        "hump",
    )


# --- drawing ------------------------------------------------------------------------------------------------


def draw(compared: Sequence[Pair], table: pd.DataFrame, fits: pd.DataFrame) -> Figure:
    """Draw gold over proxy, a panel for each reward model, then the distance on each axis with its 95 % interval."""
    methods = list(dict.fromkeys(arm.method for pair in compared for arm in pair))
    colours: dict[str, ColorType] = dict(zip(methods, ("#31688e", *theme.WARM), strict=False))
    labels = list(dict.fromkeys(pair.other.label for pair in compared))
    widths = [1.0] * len(labels) + [0.9 + 0.12 * len(labels)]
    figure, axes = theme.panels(len(labels) + 1, 3.0, sharey=False, widths=widths)
    means = table[table["curve"] == "mean"]
    for panel, label in zip(axes, labels, strict=False):
        for method in methods:
            rows = means[(means["label"] == label) & (means["method"] == method)]
            if len(rows):
                plot.curve(panel, rows, "gold", colours[method], x="recalibrated")
                plot.peak(panel, rows, "gold", colours[method], x="recalibrated")
        theme.letter(panel, f"RM {label}")
    theme.share_limits(axes[:-1])
    for panel in axes[:-1]:
        ends = [0, max(panel.get_xlim()[1], panel.get_ylim()[1])]
        look = {"color": "0.6", "linewidth": 0.7, "linestyle": theme.DOTTED, "zorder": 0}
        panel.plot(ends, ends, scalex=False, scaley=False, **look)
    axes[0].set_ylabel("gold (SDs on the initial policy)")
    axes[(len(labels) - 1) // 2].set_xlabel("proxy, recalibrated to SDs of gold")
    draw_distances(axes[-1], fits, labels)
    entries = [theme.key(f"{title(method)}, 95 % band", colours[method], linewidth=1.5) for method in methods]
    entries += [theme.key("gold's peak", marker="o"), theme.key("gold's peak here or later", marker=">")]
    entries.append(theme.key("gold = proxy", "0.6", linestyle=theme.DOTTED, linewidth=0.7))
    plot.legend(figure, entries)
    return figure


def draw_distances(panel: Axes, fits: pd.DataFrame, labels: Sequence[str]) -> None:
    """Draw the distances in a group for each axis, with a colour for each reward model."""
    for number, (label, colour) in enumerate(zip(labels, theme.sizes(len(labels)), strict=True)):
        for group, words in enumerate(AXES.values()):
            rows = fits[(fits["parameter"] == f"distance of gold over {words}") & (fits["label"] == label)]
            x = np.full(len(rows), group + 0.16 * (number - (len(labels) - 1) / 2))
            plot.intervals(panel, x, rows["estimate"], rows["lo"], rows["hi"], colour)
        look = {"color": colour, "ha": "right", "va": "top", "fontsize": 6.5}
        panel.text(0.97, 0.97 - 0.07 * number, f"RM {label}", transform=panel.transAxes, **look)
    panel.set_xticks(range(len(AXES)), [words.replace(", ", "\n") for words in AXES.values()])
    panel.set_xlim(-0.6, len(AXES) - 0.4)
    panel.set_ylim(bottom=0)
    panel.set_ylabel("distance of the two methods' gold (SDs)")
