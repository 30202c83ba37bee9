"""Gold against proxy, best-of-n and PPO, and how far apart they lie on that axis and on KL's (2210.10760, Figure 8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import BEST_OF_N, FEW_PAIRS, MAIN, Arm, Study, study, title
from analysis.runs.equal_kl import Path, bound_of
from analysis.runs.gold_lost import split
from analysis.runs.naming import GOLD_SDS
from analysis.runs.tables import points_table
from analysis.statistics.claims import (
    Claim,
    Thresholds,
    all_met,
    exceeds,
    exceeds_by_ses,
    normal_interval,
    thresholds,
)
from analysis.statistics.resampling import percentile_interval
from analysis.statistics.turnover import standard_error, turnover
from rlhf_lab.functional.intervals import conditional
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


def make(runs: Sequence[Run]) -> FigureResult:
    """One panel a reward model, and the distances of the two methods' curves on each axis."""
    read = study(runs)
    found = pairs(read)
    if not found:
        raise MissingRuns("no reward model has runs of best-of-n and of another method")
    arms = tuple({arm.title: arm for pair in found for arm in pair}.values())
    table, fits = points_table(Study(arms)), distances_table(found)
    return FigureResult(
        table,
        fits,
        claims(found, arms, thresholds(NAME)),
        draw(found, table, fits),
        checks.kl_bound_notes(read),
    )


def pairs(read: Study) -> list[Pair]:
    """Every arm of a trained method with best-of-n against the same reward models; no drift control."""
    best = {arm.label: arm for arm in read.of(BEST_OF_N, MAIN, FEW_PAIRS)}
    others = [arm for arm in read.arms if arm.method != BEST_OF_N and arm.kind in (MAIN, FEW_PAIRS)]
    return [Pair(best[arm.label], arm) for arm in others if arm.label in best]


# --- numbers ------------------------------------------------------------------------------------------------


def distance(pair: Pair, axis: str) -> Floats:
    """(B,): mean absolute difference of gold over the range that both reach, in every draw of the bootstrap.

    Each axis is scaled to its common range, so a distance is in SDs of gold whatever the axis.
    """
    return np.abs(_apart(pair, axis, 1.0)).mean(axis=1)


def start_gap(pair: Pair) -> Floats:
    """(B,): gold of best-of-n minus gold of the other at equal proxy, over the first third of what both reach."""
    return _apart(pair, "proxy", 1 / 3).mean(axis=1)


def _apart(pair: Pair, axis: str, share: float) -> Floats:
    """(B, PLACES): gold of best-of-n minus that of the other, even over the first `share` of the common range."""
    first, second = _path(pair.best_of_n, axis), _path(pair.other, axis)
    reach = np.minimum(first.d.max(axis=1), second.d.max(axis=1))
    at = reach[:, None] * np.linspace(0, share, PLACES)
    return first.at(at) - second.at(at)


def _path(arm: Arm, axis: str) -> Path:
    """The mean curve of an arm over an axis; best-of-n where its KL can be estimated, n <= N/4."""
    drawn, good = arm.drawn.mean(), np.logical_and.reduce([curves.kl_good for curves in arm.curves])
    kl = bound_of(arm, axis)
    place = drawn.values["proxy"] if axis == "proxy" else drawn.d if kl is None else np.sqrt(kl)
    gold = drawn.values["gold"]
    return Path(np.broadcast_to(place, gold.shape)[:, good], gold[:, good])


def distances_table(found: Sequence[Pair]) -> pd.DataFrame:
    """One row a reward model and axis: the distance with its 95 % interval; and the gap at the start."""
    rows: list[dict[str, Any]] = []
    for pair in found:
        measured = {f"distance of gold over {words}": distance(pair, axis) for axis, words in AXES.items()}
        measured["gold of best-of-n minus other at equal proxy, first third"] = start_gap(pair)
        for name, draws in measured.items():
            lo, hi = percentile_interval(draws[1:])
            about = {"method": pair.other.method, "rm": pair.other.rm, "label": pair.other.label}
            about |= {
                "n": pair.other.questions,
                "replicates": _replicates(pair),
                "form": "best-of-n against it",
            }
            rows.append(about | {"parameter": name, "estimate": draws[0], "lo": lo, "hi": hi})
    return pd.DataFrame(rows)


def _replicates(pair: Pair) -> int:
    return min(len(arm.curves) for arm in pair)


# --- claims -------------------------------------------------------------------------------------------------


def claims(found: Sequence[Pair], arms: Sequence[Arm], limits: Thresholds) -> list[Claim]:
    """Of each reward model that the methods lie closer and how they start; of each arm that gold has a hump."""
    both_methods = [claim for pair in found for claim in (_closer(pair, limits), _starts(pair, limits))]
    return both_methods + [_hump(arm, limits) for arm in arms]


def _closer(pair: Pair, limits: Thresholds) -> Claim:
    """The smaller of the two distances on KL's axes counts, draw by draw: it has to hold under both."""
    over_kl = np.minimum(distance(pair, "tie-aware"), distance(pair, "bound"))
    return _above(
        f"{pair.title}: gold is closer at equal proxy than at equal KL, tie-aware and by the bound",
        over_kl - distance(pair, "proxy"),
        limits["closer_on_proxy"]["difference"],
        pair,
        "closer on the proxy axis",
    )


def _starts(pair: Pair, limits: Thresholds) -> Claim:
    return _above(
        f"{pair.title}: {title(pair.other.method)} starts with the larger gap of proxy and gold, at equal proxy",
        start_gap(pair),
        limits["larger_gap_at_start"]["difference"],
        pair,
        "larger gap at the start",
    )


def _above(sentence: str, draws: Floats, threshold: float, pair: Pair, topic: str) -> Claim:
    interval, replicates = percentile_interval(draws[1:]), _replicates(pair)
    return Claim(
        claim=sentence,
        measured=float(draws[0]),
        interval=interval,
        threshold=threshold,
        n=pair.other.questions,
        replicates=replicates,
        met=exceeds(interval, threshold),
        rule=f"met: interval above {threshold:g}; not met: not above it",
        unit=GOLD_SDS,
        subject=pair.title,
        topic=topic,
        conditional=conditional(replicates),
    )


def _hump(arm: Arm, limits: Thresholds) -> Claim:
    """Gold falls from its peak while the proxy goes on; best-of-n's proxy does by construction."""
    rule, half = limits["hump"], split(arm)
    gold, proxy = turnover(arm.stacked("gold"), half), arm.stacked("proxy")
    past = proxy[:, :, -1] - np.take_along_axis(proxy, gold.place(half)[:, :, None], axis=2)[:, :, 0]
    falls = exceeds_by_ses(gold.drop, gold.se, rule["ses"], rule["margin"])
    rises = exceeds_by_ses(float(past.mean()), standard_error(past, half), rule["ses"], rule["margin"])
    return Claim(
        claim=f"{arm.title}: gold has a hump over the proxy, it falls while the proxy still rises",
        measured=gold.drop,
        interval=normal_interval(gold.drop, gold.se),
        threshold=rule["ses"] * gold.se,
        n=arm.questions,
        replicates=len(arm.curves),
        met=falls if arm.method == BEST_OF_N else all_met([falls, rises]),
        rule=f"met: gold's drop and the proxy's rise since the peak >= {rule['ses']:g} SE above 0; "
        f"not met: the upper 95 % bound of either below {rule['margin']:g}",
        unit=GOLD_SDS,
        subject=arm.title,
        topic="hump",
        conditional=conditional(len(arm.curves)),
    )


# --- ink ----------------------------------------------------------------------------------------------------


def draw(found: Sequence[Pair], table: pd.DataFrame, fits: pd.DataFrame) -> Figure:
    """Gold over proxy, a panel a reward model; then the distance on each axis with its 95 % interval."""
    methods = list(dict.fromkeys(arm.method for pair in found for arm in pair))
    colour: dict[str, Any] = dict(zip(methods, ("#31688e", *theme.WARM), strict=False))
    labels = list(dict.fromkeys(pair.other.label for pair in found))
    figure, axes = theme.panels(
        len(labels) + 1, 3.0, sharey=False, widths=[1.0] * len(labels) + [0.9 + 0.12 * len(labels)]
    )
    means = table[table["curve"] == "mean"]
    for panel, label in zip(axes, labels, strict=False):
        for method in methods:
            _draw_hump(panel, means[(means["label"] == label) & (means["method"] == method)], colour[method])
        theme.letter(panel, f"RM {label}")
    theme.share_limits(axes[:-1])
    for panel in axes[:-1]:
        ends = max(panel.get_xlim()[1], panel.get_ylim()[1])
        panel.plot(
            [0, ends],
            [0, ends],
            color="0.6",
            linewidth=0.7,
            linestyle=theme.DOTTED,
            zorder=0,
            scaley=False,
            scalex=False,
        )
    axes[0].set_ylabel("gold (SDs on the initial policy)")
    axes[(len(labels) - 1) // 2].set_xlabel("proxy, rescaled to SDs of gold")
    _draw_distances(axes[-1], fits, labels, theme.sizes(len(labels)))
    handles = [theme.key(f"{title(method)}, 95 % band", colour[method], linewidth=1.5) for method in methods]
    handles += [
        theme.key("gold's peak", marker="o"),
        theme.key("gold = proxy", "0.6", linestyle=theme.DOTTED, linewidth=0.7),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=2.0)
    return figure


def _draw_hump(panel: Axes, rows: pd.DataFrame, colour: Any) -> None:
    if rows.empty:
        return
    theme.curve(panel, rows, colour, x="proxy")
    peak = rows.iloc[int(rows["gold"].to_numpy().argmax())]
    theme.mark(panel, peak["proxy"], peak["gold"], colour)


def _draw_distances(panel: Axes, fits: pd.DataFrame, labels: Sequence[str], colours: Sequence[Any]) -> None:
    """Three groups, one an axis; a point for each reward model."""
    for group, words in enumerate(AXES.values()):
        rows = fits[fits["parameter"] == f"distance of gold over {words}"]
        for number, label in enumerate(labels):
            at = group + 0.16 * (number - (len(labels) - 1) / 2)
            for _, row in rows[rows["label"] == label].iterrows():
                panel.plot([at, at], [row["lo"], row["hi"]], color=colours[number], linewidth=1.6)
                panel.plot(
                    at, row["estimate"], "o", color=colours[number], markersize=4, markeredgecolor="white"
                )
    panel.set_xticks(range(len(AXES)), [words.replace(", ", "\n") for words in AXES.values()])
    panel.set_xlim(-0.6, len(AXES) - 0.4)
    panel.set_ylim(bottom=0)
    panel.set_ylabel("distance of the two methods' gold (SDs)")
    for number, label in enumerate(labels):
        panel.text(
            0.97,
            0.97 - 0.07 * number,
            f"RM {label}",
            transform=panel.transAxes,
            color=colours[number],
            ha="right",
            va="top",
            fontsize=6.5,
        )
