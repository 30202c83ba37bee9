"""PPO against one reward model and against ensembles, without and with a small penalty (2310.02743, Figures 4, 5)."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.drawing import ablation_panels
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks
from analysis.runs.ablation import RULE
from analysis.runs.arms import Arm, Study, study
from analysis.runs.naming import GOLD_SDS
from analysis.runs.penalties import coefficient, short_title
from analysis.runs.tables import points_table
from analysis.statistics.claims import ClaimTable
from rlhf_lab.store.records import MissingRuns, Run

NAME = "coste2023_fig4"
SWEEPS = ("coste2023",)


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw gold and proxy over KL, a colour for each rule of combination, a panel for each label noise and penalty."""
    data = small_penalties(study(runs))
    compared = ablation.compared(data, RULE)
    if not compared:
        raise MissingRuns("the figure needs PPO runs of an ensemble and of its first member alone")
    claims = ClaimTable(NAME, GOLD_SDS)
    for versus in compared:
        ablation.claim_above(claims, versus, RULE)
    for arm in data.arms:
        ablation.claim_nothing_lost(claims, arm)
    table = points_table(data)
    panels = {condition(arms[0]): arms for arms in ablation.conditions(data.arms, RULE)}
    figure = ablation_panels.draw(table, panels, compared, RULE, claims.limits["above_at_end"]["threshold"])
    fits = ablation.differences_table(data.arms, compared, RULE)
    notes = [*ablation.contested(data.arms), *checks.run_notes(data)]
    return FigureResult(table, fits, claims, figure, notes)


def small_penalties(data: Study) -> Study:
    """Return the arms of PPO without a penalty and under the smallest penalty."""
    arms = data.of("ppo")
    smallest = min((coefficient(arm) for arm in arms if coefficient(arm)), default=0.0)
    return Study(tuple(arm for arm in arms if coefficient(arm) <= smallest))


def condition(arm: Arm) -> str:
    """Return the labels and the penalty of an arm in words."""
    return f"{ablation.name(arm, 'labeler')}, {short_title(arm)}"
