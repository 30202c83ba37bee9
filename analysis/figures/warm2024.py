"""Averaged weights against averaged rewards of reward models, labels a quarter flipped (2401.12187)."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.drawing import ablation_panels
from analysis.drawing.result import FigureResult
from analysis.reward_models.accuracy import accuracy_difference
from analysis.runs import ablation, checks
from analysis.runs.ablation import RULE, Versus
from analysis.runs.arms import Study, study, title
from analysis.runs.configuration import option
from analysis.runs.naming import GOLD_SDS
from analysis.runs.tables import points_table
from analysis.statistics.claims import ClaimTable
from rlhf_lab.store.records import MissingRuns, Run

NAME = "warm2024"
SWEEPS = ("warm2024",)


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw gold and proxy over KL of one reward model, averaged rewards and averaged weights, a panel a method."""
    data = study(runs)
    compared = against(data)
    if not compared:
        raise MissingRuns(
            "the figure needs runs against averaged weights and against their first member alone"
        )
    table = points_table(data)
    panels = {title(group[0].method): group for group in ablation.conditions(data.arms, RULE)}
    claims = ClaimTable(NAME, GOLD_SDS)
    for versus in compared:
        ablation.claim_above(claims, versus, RULE)
        if versus.arm.chooses:
            claim_more_accurate(claims, versus)
    margin = claims.limits["above_at_end"]["threshold"]
    figure = ablation_panels.draw(table, panels, against(data, "single"), RULE, margin)
    fits = ablation.differences_table(data.arms, compared, RULE)
    return FigureResult(table, fits, claims, figure, checks.run_notes(data))


def against(data: Study, *rules: str) -> list[Versus]:
    """Return averaged weights against each other rule, or those named, under the same method and labels."""
    return [
        ablation.versus(arm, other)
        for group in ablation.conditions(data.arms, RULE)
        for arm in group
        for other in group
        if option(arm.runs[0], RULE) == "warm" != option(other.runs[0], RULE)
        and (not rules or option(other.runs[0], RULE) in rules)
    ]


def claim_more_accurate(claims: ClaimTable, versus: Versus) -> None:
    """Claim `more_accurate`: the reward model agrees with gold on more pairs of SFT's answers."""
    arm, other = versus.arm, versus.plain
    claims.above(
        "more_accurate",
        arm.title,
        f"its reward model agrees with gold on more pairs of SFT's answers than {ablation.in_a_sentence(other, RULE)}",
        accuracy_difference(arm, other),
        arm.questions,
        f"more accurate than {ablation.name(other, RULE)}",
        unit="share of untied pairs",
    )
