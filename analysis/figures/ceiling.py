"""The evaluation ceiling: truth and approval over optimisation, by what the labeler can check (2409.12822).

An answer is true here if a labeler who can check everything approves of it. Truth and approval are therefore both
shares of answers, and both start from the same bar.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import ColorType

from analysis.behaviour import approval
from analysis.behaviour.approval import Rates, checks_everything, competence
from analysis.best_of_n.curves import kl_axis
from analysis.drawing import plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks
from analysis.runs.arms import Arm, common_seeds, study, title
from analysis.runs.gold_lost import split
from analysis.runs.rank_order import claim_size_order
from analysis.runs.tables import estimate_row
from analysis.statistics.claims import ClaimTable
from analysis.statistics.resampling import weights_of
from analysis.statistics.turnover import turnover
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "ceiling"
SWEEPS = ("ceiling",)

LEAST = 0  # competence of a second labeler, who also judges the control's answers
SHARE = "share of answers"
MARKERS = ("o", "s", "^")  # of methods

Family = Sequence[Arm]  # arms of one method that differ in the competence of their labeler alone


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw truth and approval over KL by competence, and over competence where truth peaks and the gap at the end."""
    data = study(runs)
    families = [family for family in approval.families(data) if len(family) > 1]
    if not families:
        raise MissingRuns("the figure needs runs with limited labelers of two competences or more")
    arms = [arm for family in families for arm in family]
    rates = {arm.title: approval.rates(arm) for arm in arms}
    claims = ClaimTable(NAME, SHARE)
    for family in families:
        claim_peaks_later(claims, family, rates)
        claim_gap_grows(claims, family, rates)
        for arm in family:
            if checks_everything(arm):
                claim_control(claims, arm, rates[arm.title])
    table = approval.table(arms, rates)
    fits = pd.DataFrame([row for arm in arms for row in fit_rows(arm, rates[arm.title])])
    figure = draw(families, table, rates)
    return FigureResult(table, fits, claims, figure, [*notes(arms, rates), *checks.run_notes(data)])


def gap(rates: Rates) -> Estimate:
    """Return approval minus truth at the end, less the same among SFT's answers."""
    return Estimate.of(rates.rise("approval", less="truth"))


def gap_growth(family: Family, rates: Mapping[str, Rates]) -> Estimate | None:
    """Return how much the gap grows for each operation less that the labeler can check, by least squares.

    The slope is taken within replicates; the result is None where no replicate has all arms.
    """
    seeds = common_seeds(family)
    if not seeds:
        return None
    gaps = [
        rates[arm.title].rise("approval", less="truth")[:, [arm.seeds.index(name) for name in seeds]]
        for arm in family
    ]
    return Estimate.of(-approval.slope(gaps, [competence(arm) for arm in family]))


def truth_lost(arm: Arm) -> Estimate:
    """Return truth at its peak minus truth at the end; peak and loss are of different halves of the questions."""
    drops = turnover(approval.truth_by_question(arm), split(arm)).falls
    weights = weights_of(arm.drawn.resamples, arm.questions)
    return Estimate.of(weights @ drops.T / weights.sum(axis=1, keepdims=True))


def common_reach(family: Family, rates: Mapping[str, Rates]) -> float:
    """Return the largest KL in nats that every run of a family reaches."""
    return min(float(rates[arm.title].kl[0].max(axis=1).min()) for arm in family)


# --- claims -------------------------------------------------------------------------------------------------


def claim_peaks_later(claims: ClaimTable, family: Family, rates: Mapping[str, Rates]) -> None:
    """Claim `peaks_later`: the more the labeler can check, the larger the KL where truth peaks; for three arms on."""
    if len(family) < 3:
        return
    reach = common_reach(family, rates)
    claim_size_order(
        claims,
        "peaks_later",
        title(family[0].method),
        "truth peaks at a larger KL the more the labeler can check",
        family,
        lambda arm: approval.kl_at_peak(rates[arm.title], "truth", reach),
        "truth peaks later with competence",
        size=competence,
    )


def claim_gap_grows(claims: ClaimTable, family: Family, rates: Mapping[str, Rates]) -> None:
    """Claim `gap_grows`: the less the labeler can check, the more approval exceeds truth at the end."""
    growth = gap_growth(family, rates)
    if growth is None:
        return
    claims.above(
        "gap_grows",
        title(family[0].method),
        f"at {ablation.end_of(family[0])} approval exceeds truth by more the less the labeler can check (slope over "
        f"{len(family)} competences)",
        growth,
        family[0].questions,
        "gap grows as competence falls",
        unit=f"{SHARE}, for each operation less",
    )


def claim_control(claims: ClaimTable, arm: Arm, rates: Rates) -> None:
    """Claim that optimising for a labeler who can check everything opens no gap, and that truth is kept.

    There is no gap to this labeler by construction, so the claim is not counted; the same claim is made of a labeler of
    competence 0 who judges the same answers.
    """
    claims.equivalent(
        "control_is_flat",
        arm.title,
        "the labeler's approval rises as much as truth",
        gap(rates),
        arm.questions,
        "no gap",
        by_construction=True,
    )
    claims.equivalent(
        "control_is_flat",
        arm.title,
        f"the approval of a labeler of competence {LEAST}, who judges the same answers, rises as much as truth",
        gap(approval.rates(arm, LEAST)),
        arm.questions,
        f"no gap to competence {LEAST}",
    )
    claims.equivalent(
        "control_keeps_truth",
        arm.title,
        f"truth does not fall from its peak to {ablation.end_of(arm)}",
        truth_lost(arm),
        arm.questions,
        "truth is kept",
        lo=-math.inf,
    )


# --- tables -------------------------------------------------------------------------------------------------


def fit_rows(arm: Arm, rates: Rates) -> Iterator[dict[str, Any]]:
    """Yield the gap at the end, the KL where truth peaks, and what truth loses from there to the end."""
    named = {"method": arm.method, "rm": arm.rm, "label": arm.label, "competence": competence(arm)}
    named |= {"n_or_step": arm.curves[0].points[-1]}
    peak = Estimate.of(approval.kl_at_peak(rates, "truth", np.inf))
    for parameter, estimate, unit in (
        ("approval minus truth at the end, less SFT's", gap(rates), SHARE),
        ("KL where truth peaks", peak, "nats; a peak at the last point is this KL or later"),
        ("truth lost from its peak to the end", truth_lost(arm), SHARE),
    ):
        yield estimate_row(named, "by competence", parameter, estimate, arm.questions, unit)


def notes(arms: Sequence[Arm], rates: Mapping[str, Rates]) -> list[str]:
    """Say what approval and truth are, and in how many runs truth is highest at the last point."""
    counts = []
    for arm in arms:
        truth = rates[arm.title].draws["truth"][0]
        rising = int((truth.argmax(axis=1) == truth.shape[1] - 1).sum())
        if rising:
            counts.append(f"{arm.title} {rising} of {len(arm.curves)}")
    return [
        "a labeler approves of an answer that is worth more to him than the median of SFT's answers to prompts of the "
        "same family and difficulty; truth is the approval of a labeler who can check everything",
        f"truth is highest at the last point, so that its peak is there or later, in: {'; '.join(counts) or 'no run'}",
    ]


# --- drawing ------------------------------------------------------------------------------------------------


def draw(families: Sequence[Family], table: pd.DataFrame, rates: Mapping[str, Rates]) -> Figure:
    """Draw truth and approval over KL for two methods, and below them truth's peaks and the gaps over competence."""
    figure = theme.blank(theme.WIDTH, 5.4)
    grid = figure.subplots(2, 2, squeeze=False)
    levels = sorted({competence(arm) for family in families for arm in family})
    colours: dict[float, ColorType] = dict(zip(levels, theme.sizes(len(levels)), strict=True))
    for panel, family in zip(grid[0], families, strict=False):
        draw_curves(panel, table, family, colours)
    for panel in grid[0][len(families) :]:
        panel.set_visible(False)
    grid[0][0].set_ylabel("share of answers")
    draw_peaks(grid[1][0], families[0], rates, colours)
    draw_gaps(grid[1][1], families, rates, colours)
    for panel in grid[1]:
        panel.set_xlabel("operations that the labeler can check")
    handles = [theme.key(checked(level), colour, linewidth=2) for level, colour in colours.items()]
    handles += [
        theme.key("truth, 95 % band", linewidth=1.5),
        theme.key("approval by the labeler", linestyle=theme.DASHED, linewidth=1.1),
        *plot.peak_keys("truth"),
    ]
    plot.legend(figure, handles)
    return figure


def checked(level: float) -> str:
    """Return in words what a labeler of this competence can check."""
    return (
        "checks nothing" if level < 0 else "checks facts" if level == 0 else f"checks sums of up to {level:g}"
    )


def draw_curves(panel: Axes, table: pd.DataFrame, family: Family, colours: Mapping[float, ColorType]) -> None:
    """Draw truth with its 95 % band and its peak, and approval dashed, over KL: a colour for each competence."""
    largest = 0.0
    for arm in family:
        rows, colour = (
            table[(table["method"] == arm.method) & (table["label"] == arm.label)],
            colours[competence(arm)],
        )
        truth, approved = (rows[rows["rate"] == rate] for rate in ("truth", "approval"))
        plot.curve(panel, truth, "estimate", colour)
        plot.curve(panel, approved, "estimate", colour, style=theme.DASHED, width=1.1, band=0)
        plot.peak(panel, truth, "estimate", colour)
        largest = max(largest, float(rows["kl"].max()))
    theme.square_root_nats(panel, largest, gap=0.1)
    theme.letter(panel, title(family[0].method))
    panel.set_xlabel(kl_axis([family[0].curves[0].estimator]))
    panel.margins(y=0.14)


def draw_peaks(
    panel: Axes, family: Family, rates: Mapping[str, Rates], colours: Mapping[float, ColorType]
) -> None:
    """Draw the KL of truth's peak over competence: runs faint, their mean bold."""
    reach = common_reach(family, rates)
    for arm in family:
        level, peaks = competence(arm), approval.kl_at_peak(rates[arm.title], "truth", reach)[0]
        spread = level + 0.1 * np.linspace(-1, 1, len(peaks))
        panel.plot(spread, peaks, "o", color=colours[level], markersize=3, alpha=0.5)
        panel.plot([level - 0.25, level + 0.25], [peaks.mean()] * 2, color=colours[level], linewidth=2.2)
    panel.axhline(reach, color="0.7", linewidth=0.6, linestyle=":")
    panel.set_ylim(bottom=0)
    panel.set_ylabel(f"KL where truth peaks (nats)\n{title(family[0].method)}; dotted: or later")


def draw_gaps(
    panel: Axes, families: Sequence[Family], rates: Mapping[str, Rates], colours: Mapping[float, ColorType]
) -> None:
    """Draw the gap at the end with its 95 % interval over competence, a marker for each method."""
    panel.axhline(0, color="0.7", linewidth=0.6)
    handles = []
    for index, family in enumerate(families):
        marker, shift = MARKERS[index % len(MARKERS)], 0.14 * (index - (len(families) - 1) / 2)
        for arm in family:
            estimate, colour = gap(rates[arm.title]), colours[competence(arm)]
            lo, hi = estimate.interval()
            plot.intervals(panel, [competence(arm) + shift], [estimate.value], [lo], [hi], colour, marker)
        end = f", {ablation.end_of(family[0])}" if family[0].chooses else ""
        handles.append(theme.key(f"{title(family[0].method)}{end}", marker=marker))
    panel.set_ylabel("approval minus truth\nat the end, less SFT's")
    panel.legend(handles=handles, loc="upper right")
