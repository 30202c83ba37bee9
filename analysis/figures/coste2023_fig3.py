"""Best-of-n against one reward model and against ensembles, clean and noisy labels (2310.02743, Figure 3)."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.drawing import ablation_panels
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks
from analysis.runs.ablation import RULE
from analysis.runs.arms import study
from analysis.runs.naming import GOLD_SDS
from analysis.runs.tables import points_table
from analysis.statistics.claims import ClaimTable
from rlhf_lab.store.records import MissingRuns, Run

NAME = "coste2023_fig3"
SWEEPS = ("coste2023",)


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw gold and proxy over KL, a colour for each rule of combination, a panel for each share of flipped labels."""
    data = study([run for run in runs if run.method == "BestOfN"])
    compared = ablation.compared(data, RULE)
    if not compared:
        raise MissingRuns("the figure needs best-of-n runs of an ensemble and of its first member alone")
    claims = ClaimTable(NAME, GOLD_SDS)
    for versus in compared:
        ablation.claim_above_at_end(claims, versus, RULE)
        ablation.claim_loses_less(claims, versus, RULE)
    for arm in data.arms:
        ablation.claim_nothing_lost(claims, arm)
    table = points_table(data)
    panels = {ablation.name(arms[0], "labeler"): arms for arms in ablation.conditions(data.arms, RULE)}
    figure = ablation_panels.draw(table, panels, compared, RULE, claims.limits["above_at_end"]["threshold"])
    fits = ablation.differences_table(data.arms, compared, RULE)
    notes = [*ablation.contested(data.arms), *checks.run_notes(data)]
    return FigureResult(table, fits, claims, figure, notes)
