"""PPO against one reward model and against ensembles, without and with a small penalty (2310.02743, Figures 4, 5)."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.drawing import ablation_panels
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks
from analysis.runs.ablation import RULE, Versus
from analysis.runs.arms import Arm, Study, study
from analysis.runs.penalties import coefficient, in_short
from analysis.runs.tables import points_table
from analysis.statistics.claims import Claim, Thresholds, thresholds
from rlhf_lab.store.records import MissingRuns, Run

NAME = "coste2023_fig4"
SWEEPS = ("coste2023",)


def make(runs: Sequence[Run]) -> FigureResult:
    """Gold and proxy over KL by rule of combination, a panel a share of flipped labels and a penalty."""
    shown = small_penalties(study(runs))
    found, limits = ablation.compared(shown, RULE), thresholds(NAME)
    if not found:
        raise MissingRuns("no PPO run of an ensemble and of its first member alone are made")
    table = points_table(shown)
    panels = {condition(arms[0]): arms for arms in ablation.conditions(shown.arms, RULE)}
    figure = ablation_panels.draw(table, panels, found, RULE, limits["above_at_end"]["margin"])
    fits = ablation.differences_table(shown.arms, found, RULE)
    notes = [*ablation.contested(shown.arms), *checks.kl_bound_notes(shown)]
    return FigureResult(table, fits, claims(shown, found, limits), figure, notes)


def small_penalties(read: Study) -> Study:
    """The arms of PPO without a penalty and under the smallest that there is."""
    arms = read.of("ppo")
    smallest = min((coefficient(arm) for arm in arms if coefficient(arm)), default=0.0)
    return Study(tuple(arm for arm in arms if coefficient(arm) <= smallest))


def condition(arm: Arm) -> str:
    """Labels and penalty in words."""
    return f"{ablation.name(arm, 'labeler')}, {in_short(arm)}"


def claims(read: Study, found: Sequence[Versus], limits: Thresholds) -> list[Claim]:
    """Of each ensemble against the single reward model, at the end and at equal KL, then of each arm alone."""
    of_pairs: list[Claim] = []
    for one in found:
        of_pairs.append(ablation.above_at_end(one, RULE, limits["above_at_end"]))
        of_pairs += ablation.above_at_equal_kl(one, RULE, limits["above_at_equal_kl"])
        of_pairs.append(ablation.loses_less(one, RULE, limits["loses_less"]))
    return of_pairs + [ablation.nothing_lost(arm, limits["nothing_lost"]) for arm in read.arms]
