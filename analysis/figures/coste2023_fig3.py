"""Best-of-n against one reward model and against ensembles, clean and noisy labels (2310.02743, Figure 3)."""

from __future__ import annotations

from collections.abc import Sequence

from analysis import consistency, versus
from analysis.arms import BEST_OF_N, Study, study
from analysis.claims import Claim, Thresholds, thresholds
from analysis.plate import Plate
from analysis.tables import points_table
from analysis.versus import RULE, Versus
from rlhf_lab.records import MissingRuns, Run

NAME = "coste2023_fig3"
SWEEPS = ("coste2023",)


def make(runs: Sequence[Run]) -> Plate:
    """Gold and proxy over KL by rule of combination, a panel a share of flipped labels."""
    read = study([run for run in runs if run.method == "BestOfN"])
    found, limits = versus.compared(read, RULE), thresholds(NAME)
    if not found:
        raise MissingRuns("no best-of-n run of an ensemble and of its first member alone are made")
    table = points_table(read)
    shown = {versus.name(arms[0], "labeler"): arms for arms in versus.conditions(read.arms, RULE)}
    from analysis import versus_ink  # brings matplotlib

    figure = versus_ink.draw(table, shown, found, RULE, limits["above_at_end"]["margin"])
    fits = versus.differences_table(read.arms, found, RULE)
    notes = [*versus.contested(read.of(BEST_OF_N)), *consistency.notes(read)]
    return Plate(table, fits, claims(read, found, limits), figure, notes)


def claims(read: Study, found: Sequence[Versus], limits: Thresholds) -> list[Claim]:
    """Of each ensemble against the single reward model, then of each arm alone."""
    of_pairs = [
        claim
        for one in found
        for claim in (
            versus.above_at_end(one, RULE, limits["above_at_end"]),
            versus.loses_less(one, RULE, limits["loses_less"]),
        )
    ]
    return of_pairs + [versus.nothing_lost(arm, limits["nothing_lost"]) for arm in read.arms]
