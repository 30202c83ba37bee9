"""PPO under constraints on each reward model's mean, against PPO on the mean of them (2310.04373)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.drawing import ablation_panels
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks
from analysis.runs.ablation import RULE, Versus
from analysis.runs.arms import Arm, Study, study
from analysis.runs.configuration import option
from analysis.runs.naming import GOLD_SDS
from analysis.runs.tables import points_table
from analysis.statistics.claims import ClaimTable
from analysis.statistics.resampling import weights_of
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "moskovitz2023"
SWEEPS = ("moskovitz2023",)


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw gold and proxy over KL of the mean and of each form of constraint, a panel for each penalty."""
    trained = Study(tuple(arm for arm in study(runs).arms if not arm.chooses))
    compared = against(trained)
    if not compared:
        raise MissingRuns("the figure needs runs under constraints and on the mean of the same reward models")
    table = points_table(trained)
    panels = {titled(group[0]): group for group in ablation.conditions(trained.arms, RULE)}
    claims = ClaimTable(NAME, GOLD_SDS)
    for versus in compared:
        ablation.claim_above_at_end(claims, versus, RULE)
        ablation.claim_loses_less(claims, versus, RULE)
        if versus.arm.runs[0].config[RULE]["form"] == "xi":
            claim_held(claims, versus.arm)
    margin = claims.limits["above_at_end"]["threshold"]
    figure = ablation_panels.draw(table, panels, compared, RULE, margin)
    fits = ablation.differences_table(trained.arms, compared, RULE)
    return FigureResult(table, fits, claims, figure, checks.run_notes(trained))


def titled(arm: Arm) -> str:
    """Return the heading of an arm's panel: its penalty."""
    coefficient = arm.settings.get("kl_coef")
    return f"KL penalty {coefficient:g}" if coefficient else "no penalty"


def against(data: Study) -> list[Versus]:
    """Return each form of constraint against the mean of the same members, under the same penalty and labels."""
    return [
        ablation.versus(arm, other)
        for group in ablation.conditions(data.arms, RULE)
        for arm in group
        for other in group
        if option(arm.runs[0], RULE) == "constrained" and option(other.runs[0], RULE) == "mean"
    ]


def claim_held(claims: ClaimTable, arm: Arm) -> None:
    """Claim `held`: the members' mean reward at the end is at the threshold."""
    claims.equivalent(
        "held",
        arm.title,
        f"the members' mean reward at {ablation.end_of(arm)} is at the constraint's threshold",
        Estimate.of(excess(arm)),
        arm.questions,
        "held at its threshold",
        unit="SDs of the reward models",
    )


def excess(arm: Arm) -> np.ndarray:
    """Return (B, R), the proxy at the last checkpoint minus the mean threshold: of all questions, then of draws."""
    weights = weights_of(arm.drawn.resamples, arm.questions)
    last = np.stack([curves.values["proxy"][:, -1] for curves in arm.curves], axis=1)
    level = float(np.mean(arm.runs[0].config[RULE]["thresholds"]))
    return weights @ last / weights.sum(axis=1, keepdims=True) - level
