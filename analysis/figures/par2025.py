"""PPO on shaped rewards: gold at the end, and from the peak on, against no shaping (2502.18770)."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.drawing import ablation_panels
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks
from analysis.runs.ablation import SHAPING, Versus
from analysis.runs.arms import Study, study
from analysis.runs.tables import points_table
from analysis.statistics.claims import Claim, Thresholds, thresholds
from rlhf_lab.store.records import MissingRuns, Run

NAME = "par2025"
SWEEPS = ("par2025",)


def make(runs: Sequence[Run]) -> FigureResult:
    """Gold and the proxy before shaping over KL, a colour a shaping."""
    read = study(runs)
    shown = Study(tuple(arm for arm in read.arms if not arm.chooses))
    found, limits = ablation.compared(shown, SHAPING), thresholds(NAME)
    if not found:
        raise MissingRuns("no run on a shaped reward and on the same reward without shaping are made")
    table = points_table(shown)
    panels = {arms[0].title: arms for arms in ablation.conditions(shown.arms, SHAPING)}
    figure = ablation_panels.draw(table, panels, found, SHAPING, limits["above_at_end"]["margin"])
    fits = ablation.differences_table(shown.arms, found, SHAPING)
    return FigureResult(table, fits, claims(found, limits), figure, checks.kl_bound_notes(shown))


def claims(found: Sequence[Versus], limits: Thresholds) -> list[Claim]:
    """Of each shaping against none: at the end, at equal KL, from the peak on."""
    made: list[Claim] = []
    for one in found:
        made.append(ablation.above_at_end(one, SHAPING, limits["above_at_end"]))
        made += ablation.above_at_equal_kl(one, SHAPING, limits["above_at_equal_kl"])
        made.append(ablation.loses_less(one, SHAPING, limits["loses_less"]))
    return made
