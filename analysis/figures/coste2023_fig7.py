"""Gold at the end of PPO against the KL penalty, one reward model and ensembles (2310.02743, Figures 6, 7)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.drawing import ablation_panels, plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks
from analysis.runs.ablation import RULE, Versus
from analysis.runs.arms import Arm, Study, arm_by, common_seeds, study
from analysis.runs.gold_lost import split
from analysis.runs.naming import GOLD_SDS
from analysis.runs.penalties import coefficient
from analysis.runs.tables import points_table
from analysis.statistics.claims import ClaimTable
from analysis.statistics.resampling import weights_of
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

Floats = NDArray[np.float64]

NAME = "coste2023_fig7"
SWEEPS = ("coste2023",)


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw gold at the last checkpoint over the penalty's coefficient, and each ensemble minus one reward model."""
    data = several_penalties(study(runs))
    compared = ablation.compared(data, RULE)
    if not compared:
        raise MissingRuns(
            "the figure needs PPO runs of an ensemble and of its first member alone under two penalties"
        )
    claims = ClaimTable(NAME, GOLD_SDS)
    for (labels, rule), arms in families(data).items():
        own = [versus for versus in compared if versus.arm in arms]
        if own:
            claim_not_below(claims, f"PPO, {rule}, {labels}", own)
            claim_best(claims, f"PPO, {rule}, {labels}", arms, [versus.plain for versus in own])
    table = points_table(data)
    fits = ablation.differences_table(data.arms, compared, RULE)
    figure = draw(data, table, compared, claims.limits["not_below"]["margin"])
    return FigureResult(table, fits, claims, figure, checks.run_notes(data))


def several_penalties(data: Study) -> Study:
    """Return the arms of PPO with labels under which there are two coefficients or more."""
    arms = data.of("ppo")
    seen: dict[str, set[float]] = {}
    for arm in arms:
        seen.setdefault(ablation.name(arm, "labeler"), set()).add(coefficient(arm))
    return Study(tuple(arm for arm in arms if len(seen[ablation.name(arm, "labeler")]) > 1))


def families(data: Study) -> dict[tuple[str, str], list[Arm]]:
    """Return the arms of each (labels, rule), the smallest coefficient first; single reward models come first."""
    arm_by(data.arms, lambda arm: (ablation.name(arm, "labeler"), ablation.name(arm, RULE), coefficient(arm)))
    found: dict[tuple[str, str], list[Arm]] = {}
    for arm in sorted(data.arms, key=lambda arm: (not ablation.is_plain(arm, RULE), coefficient(arm))):
        found.setdefault((ablation.name(arm, "labeler"), ablation.name(arm, RULE)), []).append(arm)
    return found


# --- claims -------------------------------------------------------------------------------------------------


def claim_not_below(claims: ClaimTable, subject: str, compared: Sequence[Versus]) -> None:
    """Claim `not_below`: under each penalty, gold at the end is at most the margin below one reward model's."""
    claims.all_above(
        "not_below",
        subject,
        f"gold at the end is not below a single reward model's under any of {len(compared)} penalties",
        [versus.end for versus in compared],
        compared[0].arm.questions,
        "not below single under any penalty",
        threshold=-claims.limits["not_below"]["margin"],
    )


def claim_best(claims: ClaimTable, subject: str, arms: Sequence[Arm], plain: Sequence[Arm]) -> None:
    """Claim `best`: gold at the end under the best penalty is above one reward model's under its best penalty."""
    seeds = common_seeds([*arms, *plain])
    if not seeds:
        return
    difference = best_over(arms, seeds) - best_over(plain, seeds)  # (R, C)
    weights = weights_of(arms[0].drawn.resamples, arms[0].questions)
    claims.above(
        "best",
        subject,
        "gold at the end under its best penalty is higher than a single reward model's under the best for that",
        Estimate.of(weights @ difference.T / weights.sum(axis=1, keepdims=True)),
        arms[0].questions,
        "best penalty above single's best",
    )


def best_over(arms: Sequence[Arm], seeds: Sequence[str]) -> Floats:
    """Return (R, C), gold at the end under the best penalty, chosen on the half of the questions not measured on."""
    half = split(arms[0])
    gold = np.stack([arm.of_seeds(seeds).stacked("gold")[:, :, -1] for arm in arms])  # (penalties, R, C)
    by_half = [int(gold[:, :, side].mean(axis=(1, 2)).argmax()) for side in (half, ~half)]
    return np.where(half, gold[by_half[1]], gold[by_half[0]])


# --- drawing ------------------------------------------------------------------------------------------------


def draw(data: Study, table: pd.DataFrame, compared: Sequence[Versus], margin: float) -> Figure:
    """Draw a panel for each share of flipped labels with a line for each rule, then a panel of the differences."""
    arms_of = families(data)
    colours = ablation_panels.colours([arms[0] for arms in arms_of.values()], RULE)
    noises = list(dict.fromkeys(labels for labels, _ in arms_of))
    figure, axes = theme.panels(len(noises) + 1, 3.3, sharey=False)
    for panel, noise in zip(axes, noises, strict=False):
        for (labels, rule), arms in arms_of.items():
            if labels == noise:
                draw_rule(panel, table, arms, colours[rule])
        panel.set_xlabel("coefficient of the KL penalty\n(SDs of the proxy for each nat)")
        theme.letter(panel, noise)
        panel.margins(y=0.12)
    axes[0].set_ylabel("gold at the last checkpoint (SDs)")
    rows = [
        (f"{ablation.name(versus.arm, RULE)}, {coefficient(versus.arm):g}", versus) for versus in compared
    ]
    ablation_panels.differences(axes[-1], rows, colours, RULE, margin)
    axes[-1].set_xlabel("gold minus single\nat the end (SDs)")
    plot.legend(figure, [theme.key(words, colour, linewidth=2) for words, colour in colours.items()])
    return figure


def draw_rule(panel: Axes, table: pd.DataFrame, arms: Sequence[Arm], colour: str) -> None:
    """Draw mean gold with its 95 % band at evenly spaced coefficients."""
    means = table[table["curve"] == "mean"]
    last = pd.DataFrame([means[means["label"] == arm.label].iloc[-1] for arm in arms])
    plot.curve(panel, last.assign(place=range(len(arms))), "gold", colour, x="place", marker="o")
    panel.set_xticks(range(len(arms)), [f"{coefficient(arm):g}" for arm in arms])
