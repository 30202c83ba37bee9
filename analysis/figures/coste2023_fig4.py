"""PPO against one reward model and against ensembles, without and with a small penalty (2310.02743, Figures 4, 5)."""

from __future__ import annotations

from collections.abc import Sequence

from analysis import consistency, versus
from analysis.arms import Arm, Study, study
from analysis.claims import Claim, Thresholds, thresholds
from analysis.penalties import coefficient, in_short
from analysis.plate import Plate
from analysis.tables import points_table
from analysis.versus import RULE, Versus
from rlhf_lab.records import MissingRuns, Run

NAME = "coste2023_fig4"
SWEEPS = ("coste2023",)


def make(runs: Sequence[Run]) -> Plate:
    """Gold and proxy over KL by rule of combination, a panel a share of flipped labels and a penalty."""
    shown = small_penalties(study(runs))
    found, limits = versus.compared(shown, RULE), thresholds(NAME)
    if not found:
        raise MissingRuns("no PPO run of an ensemble and of its first member alone are made")
    table = points_table(shown)
    panels = {condition(arms[0]): arms for arms in versus.conditions(shown.arms, RULE)}
    from analysis import versus_ink  # brings matplotlib

    figure = versus_ink.draw(table, panels, found, RULE, limits["above_at_end"]["margin"])
    fits = versus.differences_table(shown.arms, found, RULE)
    notes = [*versus.contested(shown.arms), *consistency.notes(shown)]
    return Plate(table, fits, claims(shown, found, limits), figure, notes)


def small_penalties(read: Study) -> Study:
    """The arms of PPO without a penalty and under the smallest that there is."""
    arms = read.of("ppo")
    smallest = min((coefficient(arm) for arm in arms if coefficient(arm)), default=0.0)
    return Study(tuple(arm for arm in arms if coefficient(arm) <= smallest))


def condition(arm: Arm) -> str:
    """Labels and penalty in words."""
    return f"{versus.name(arm, 'labeler')}, {in_short(arm)}"


def claims(read: Study, found: Sequence[Versus], limits: Thresholds) -> list[Claim]:
    """Of each ensemble against the single reward model, at the end and at equal KL, then of each arm alone."""
    of_pairs: list[Claim] = []
    for one in found:
        of_pairs.append(versus.above_at_end(one, RULE, limits["above_at_end"]))
        of_pairs += versus.above_at_equal_kl(one, RULE, limits["above_at_equal_kl"])
        of_pairs.append(versus.loses_less(one, RULE, limits["loses_less"]))
    return of_pairs + [versus.nothing_lost(arm, limits["nothing_lost"]) for arm in read.arms]
