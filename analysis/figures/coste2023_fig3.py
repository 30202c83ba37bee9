"""Best-of-n against one reward model and against ensembles, clean and noisy labels (2310.02743, Figure 3)."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.drawing import ablation_panels
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks
from analysis.runs.ablation import RULE, Versus
from analysis.runs.arms import BEST_OF_N, Study, study
from analysis.runs.tables import points_table
from analysis.statistics.claims import Claim, Thresholds, thresholds
from rlhf_lab.store.records import MissingRuns, Run

NAME = "coste2023_fig3"
SWEEPS = ("coste2023",)


def make(runs: Sequence[Run]) -> FigureResult:
    """Gold and proxy over KL by rule of combination, a panel a share of flipped labels."""
    read = study([run for run in runs if run.method == "BestOfN"])
    found, limits = ablation.compared(read, RULE), thresholds(NAME)
    if not found:
        raise MissingRuns("no best-of-n run of an ensemble and of its first member alone are made")
    table = points_table(read)
    shown = {ablation.name(arms[0], "labeler"): arms for arms in ablation.conditions(read.arms, RULE)}
    figure = ablation_panels.draw(table, shown, found, RULE, limits["above_at_end"]["margin"])
    fits = ablation.differences_table(read.arms, found, RULE)
    notes = [*ablation.contested(read.of(BEST_OF_N)), *checks.kl_bound_notes(read)]
    return FigureResult(table, fits, claims(read, found, limits), figure, notes)


def claims(read: Study, found: Sequence[Versus], limits: Thresholds) -> list[Claim]:
    """Of each ensemble against the single reward model, then of each arm alone."""
    of_pairs = [
        claim
        for one in found
        for claim in (
            ablation.above_at_end(one, RULE, limits["above_at_end"]),
            ablation.loses_less(one, RULE, limits["loses_less"]),
        )
    ]
    return of_pairs + [ablation.nothing_lost(arm, limits["nothing_lost"]) for arm in read.arms]
