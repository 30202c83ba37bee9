"""PPO on shaped rewards: gold at the end, and from the peak on, against no shaping (2502.18770)."""

from __future__ import annotations

from collections.abc import Sequence

from analysis import consistency, versus
from analysis.arms import Study, study
from analysis.claims import Claim, Thresholds, thresholds
from analysis.plate import Plate
from analysis.tables import points_table
from analysis.versus import SHAPING, Versus
from rlhf_lab.records import MissingRuns, Run

NAME = "par2025"
SWEEPS = ("par2025",)


def make(runs: Sequence[Run]) -> Plate:
    """Gold and the proxy before shaping over KL, a colour a shaping."""
    read = study(runs)
    shown = Study(tuple(arm for arm in read.arms if not arm.chooses))
    found, limits = versus.compared(shown, SHAPING), thresholds(NAME)
    if not found:
        raise MissingRuns("no run on a shaped reward and on the same reward without shaping are made")
    table = points_table(shown)
    panels = {arms[0].title: arms for arms in versus.conditions(shown.arms, SHAPING)}
    from analysis import versus_ink  # brings matplotlib

    figure = versus_ink.draw(table, panels, found, SHAPING, limits["above_at_end"]["margin"])
    fits = versus.differences_table(shown.arms, found, SHAPING)
    return Plate(table, fits, claims(found, limits), figure, consistency.notes(shown))


def claims(found: Sequence[Versus], limits: Thresholds) -> list[Claim]:
    """Of each shaping against none: at the end, at equal KL, from the peak on."""
    made: list[Claim] = []
    for one in found:
        made.append(versus.above_at_end(one, SHAPING, limits["above_at_end"]))
        made += versus.above_at_equal_kl(one, SHAPING, limits["above_at_equal_kl"])
        made.append(versus.loses_less(one, SHAPING, limits["loses_less"]))
    return made
