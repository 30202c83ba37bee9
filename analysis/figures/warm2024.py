"""Averaged weights against averaged rewards of reward models, labels a quarter flipped (2401.12187)."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.drawing import ablation_panels
from analysis.drawing.result import FigureResult
from analysis.reward_models.agreement import difference
from analysis.runs import ablation, checks
from analysis.runs.ablation import RULE, Versus
from analysis.runs.arms import Study, study, title
from analysis.runs.naming import option
from analysis.runs.tables import points_table
from analysis.statistics.claims import Claim, Thresholds, by_estimate, thresholds
from rlhf_lab.store.records import MissingRuns, Run

NAME = "warm2024"
SWEEPS = ("warm2024",)


def make(runs: Sequence[Run]) -> FigureResult:
    """Gold and proxy over KL of one reward model, averaged rewards and averaged weights, a panel a method."""
    read = study(runs)
    found, limits = against(read), thresholds(NAME)
    if not found:
        raise MissingRuns("no run against averaged weights and against their first member alone are made")
    table = points_table(read)
    panels = {title(arms[0].method): arms for arms in ablation.conditions(read.arms, RULE)}
    figure = ablation_panels.draw(
        table, panels, against(read, "single"), RULE, limits["above_at_end"]["margin"]
    )
    fits = ablation.differences_table(read.arms, found, RULE)
    return FigureResult(table, fits, claims(found, limits), figure, checks.kl_bound_notes(read))


def against(read: Study, *rules: str) -> list[Versus]:
    """Averaged weights against each of the other rules, or those named, under the same method and labels."""
    return [
        ablation.versus(arm, other)
        for arms in ablation.conditions(read.arms, RULE)
        for arm in arms
        for other in arms
        if option(arm.runs[0], RULE) == "warm" != option(other.runs[0], RULE)
        and (not rules or option(other.runs[0], RULE) in rules)
    ]


def claims(found: Sequence[Versus], limits: Thresholds) -> list[Claim]:
    """Of averaged weights against each other rule: gold at the end and at equal KL, what is lost, accuracy."""
    made: list[Claim] = []
    for one in found:
        made.append(ablation.above_at_end(one, RULE, limits["above_at_end"]))
        made += ablation.above_at_equal_kl(one, RULE, limits["above_at_equal_kl"])
        made.append(ablation.loses_less(one, RULE, limits["loses_less"]))
        if one.arm.chooses:
            made.append(_more_accurate(one, limits["more_accurate"]))
    return made


def _more_accurate(one: Versus, rule: ablation.Rule) -> Claim:
    other = ablation.name(one.plain, RULE)
    return by_estimate(
        f"{one.arm.title}: agrees with gold on more pairs of SFT's answers than {other}",
        *(difference(one.arm, one.plain), rule, one.arm.questions),
        unit="share of untied pairs",
        subject=one.arm.title,
        topic=f"more accurate than {other}",
    )
