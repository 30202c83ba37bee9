"""PPO under constraints on each reward model's mean, against PPO on the mean of them (2310.04373)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.drawing import ablation_panels
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks
from analysis.runs.ablation import RULE, Versus
from analysis.runs.arms import Arm, Study, study
from analysis.runs.naming import option
from analysis.runs.tables import points_table
from analysis.statistics.claims import Claim, Thresholds, by_equivalence, thresholds
from analysis.statistics.resampling import weights_of
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "moskovitz2023"
SWEEPS = ("moskovitz2023",)


def make(runs: Sequence[Run]) -> FigureResult:
    """Gold and proxy over KL of the mean and of each form of constraint, a panel a penalty."""
    read = study(runs)
    shown = Study(tuple(arm for arm in read.arms if not arm.chooses))
    found, limits = against(shown), thresholds(NAME)
    if not found:
        raise MissingRuns("no run under constraints and on the mean of the same reward models are made")
    table = points_table(shown)
    panels = {titled(arms[0]): arms for arms in ablation.conditions(shown.arms, RULE)}
    figure = ablation_panels.draw(table, panels, found, RULE, limits["above_at_end"]["margin"])
    fits = ablation.differences_table(shown.arms, found, RULE)
    return FigureResult(table, fits, claims(found, limits), figure, checks.kl_bound_notes(shown))


def titled(arm: Arm) -> str:
    """The condition of a panel in words."""
    coefficient = arm.settings.get("kl_coef")
    return f"KL penalty {coefficient:g}" if coefficient else "no penalty"


def against(read: Study) -> list[Versus]:
    """Each form of constraint against the mean of the same members, under the same penalty and labels."""
    return [
        ablation.versus(arm, other)
        for arms in ablation.conditions(read.arms, RULE)
        for arm in arms
        for other in arms
        if option(arm.runs[0], RULE) == "constrained" and option(other.runs[0], RULE) == "mean"
    ]


def claims(found: Sequence[Versus], limits: Thresholds) -> list[Claim]:
    """Of each constrained arm against the mean: at the end, from the peak on; and whether xi holds its threshold."""
    made: list[Claim] = []
    for one in found:
        made.append(ablation.above_at_end(one, RULE, limits["above_at_end"]))
        made.append(ablation.loses_less(one, RULE, limits["loses_less"]))
        if one.arm.runs[0].config[RULE]["form"] == "xi":
            made.append(held(one.arm, limits["held"]))
    return made


def held(arm: Arm, rule: ablation.Rule) -> Claim:
    """That the members' mean reward at the end is the threshold, SDs of SFT answers."""
    found, margin = Estimate.of(excess(arm)), rule["margin"]
    return by_equivalence(
        f"{arm.title}: members are held at their threshold at {ablation.end_of(arm)}",
        *(found, -margin, margin, arm.questions),
        enough=found.replicates >= rule["replicates"],
        unit="SDs of the reward models",
        subject=arm.title,
        topic="held at its threshold",
    )


def excess(arm: Arm) -> np.ndarray:
    """(B, R): the recorded proxy at the last checkpoint less the mean threshold, as it is and in every draw of
    questions.
    """
    weights = weights_of(arm.drawn.resamples, arm.questions)
    last = np.stack([curves.values["proxy"][:, -1] for curves in arm.curves], axis=1)
    level = float(np.mean(arm.runs[0].config[RULE]["thresholds"]))
    return weights @ last / weights.sum(axis=1, keepdims=True) - level
