"""PPO on shaped rewards: gold at the end, and from the peak on, against no shaping (2502.18770)."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.drawing import ablation_panels
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks
from analysis.runs.ablation import SHAPING
from analysis.runs.arms import Study, study
from analysis.runs.naming import GOLD_SDS
from analysis.runs.tables import points_table
from analysis.statistics.claims import ClaimTable
from rlhf_lab.store.records import MissingRuns, Run

NAME = "par2025"
SWEEPS = ("par2025",)


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw gold and the proxy before shaping over KL, a colour for each shaping."""
    trained = Study(tuple(arm for arm in study(runs).arms if not arm.chooses))
    compared = ablation.compared(trained, SHAPING)
    if not compared:
        raise MissingRuns("the figure needs runs on a shaped reward and on the same reward without shaping")
    table = points_table(trained)
    panels = {group[0].title: group for group in ablation.conditions(trained.arms, SHAPING)}
    claims = ClaimTable(NAME, GOLD_SDS)
    for versus in compared:
        ablation.claim_above(claims, versus, SHAPING)
    margin = claims.limits["above_at_end"]["threshold"]
    figure = ablation_panels.draw(table, panels, compared, SHAPING, margin)
    fits = ablation.differences_table(trained.arms, compared, SHAPING)
    return FigureResult(table, fits, claims, figure, checks.run_notes(trained))
