"""Ensembles by what members share, and faults that survive in them: best-of-n (2312.09244)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.behaviour.faults import FAULTS, change, rates
from analysis.drawing import ablation_panels, plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks
from analysis.runs.ablation import RULE, Versus
from analysis.runs.arms import Arm, Study, study, unlike_in
from analysis.runs.naming import GOLD_SDS
from analysis.runs.tables import estimate_row, points_table
from analysis.statistics.claims import ClaimTable
from rlhf_lab.store.records import MissingRuns, Run

NAME = "eisenstein2023"
SWEEPS = ("eisenstein2023",)

SHARE = "share of answers"

Rates = Mapping[str, list[dict[str, np.ndarray]]]  # title of an arm -> of each replicate, fault -> (C, K)


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw gold over KL of one reward model and of ensembles, and how often the chosen answers have a fault."""
    data = study([run for run in runs if run.method == "BestOfN"])
    compared = ablation.compared(data, RULE)
    if not compared:
        raise MissingRuns("the figure needs best-of-n runs of an ensemble and of its first member alone")
    compared += between_ensembles(compared)
    rates_of = {arm.title: rates(arm) for arm in data.arms}
    claims = ClaimTable(NAME, GOLD_SDS)
    for versus in compared:
        ablation.claim_above_at_end(claims, versus, RULE)
    for arm in data.arms:
        ablation.claim_nothing_lost(claims, arm)
    for arm in data.arms:
        if not ablation.is_plain(arm, RULE):
            claim_faults_survive(claims, arm, rates_of[arm.title])
    table = points_table(data)
    faults = [
        estimate_row(
            arm,
            "rate",
            f"{fault} at the end minus SFT's",
            change(arm, rates_of[arm.title], fault),
            unit=SHARE,
        )
        for arm in data.arms
        for fault in FAULTS
    ]
    fits = pd.concat([ablation.differences_table(data.arms, compared, RULE), pd.DataFrame(faults)])
    notes = [*ablation.contested(data.arms), *checks.run_notes(data)]
    figure = draw(data, table, compared, rates_of, claims.limits["above_at_end"]["threshold"])
    return FigureResult(table, fits, claims, figure, notes)


def between_ensembles(compared: Sequence[Versus]) -> list[Versus]:
    """Return ensembles whose members have trunks of their own against those that share one, under the same rule."""
    ensembles = {versus.arm.title: versus.arm for versus in compared}
    return [
        ablation.versus(arm, shared)
        for alike in unlike_in(ensembles.values(), "rm_combination.seeds")
        for arm in alike
        for shared in alike
        if seeds(arm) == "pretrain" and seeds(shared) == "finetune"
    ]


def seeds(arm: Arm) -> str:
    """Return which seeds the members of an ensemble differ in."""
    return str(arm.runs[0].config["rm_combination"].get("seeds", ""))


def claim_faults_survive(claims: ClaimTable, arm: Arm, rates: list[dict[str, np.ndarray]]) -> None:
    """Claim `fault_survives` of each fault: an ensemble chooses more answers with it than SFT gives."""
    for fault in FAULTS:
        claims.above(
            "fault_survives",
            arm.title,
            f"more answers have the fault “{fault}” at {ablation.end_of(arm)} than among SFT's answers",
            change(arm, rates, fault),
            arm.questions,
            f"more {fault}",
            unit=SHARE,
        )


# --- drawing ------------------------------------------------------------------------------------------------


def draw(
    data: Study, table: pd.DataFrame, compared: Sequence[Versus], rates_of: Rates, margin: float
) -> Figure:
    """Draw gold and proxy over KL, the change of each fault's rate, and differences of gold at the end."""
    arms = sorted(data.arms, key=lambda arm: not ablation.is_plain(arm, RULE))
    colours = ablation_panels.colours(arms, RULE)
    figure, (curves, faults, differences) = theme.panels(3, 3.4, sharey=False)
    ablation_panels.frontier(curves, table, arms, colours, RULE, ablation_panels.furthest(table, arms))
    curves.set_ylabel("reward (SDs of gold on the initial policy)")
    rows = [
        (
            row + 0.2 * (place - (len(arms) - 1) / 2),
            change(arm, rates_of[arm.title], fault),
            colours[ablation.name(arm, RULE)],
        )
        for row, fault in enumerate(FAULTS)
        for place, arm in enumerate(arms)
    ]
    plot.forest(faults, rows, list(FAULTS))
    faults.set_xlabel("share at the largest n\nminus SFT's")
    names = [
        (f"{ablation.name(versus.arm, RULE)}\nminus {ablation.name(versus.plain, RULE)}", versus)
        for versus in compared
    ]
    ablation_panels.differences(differences, names, colours, RULE, margin)
    differences.set_xlabel("difference of gold\nat the end (SDs)")
    ablation_panels.legend(figure, colours, table)
    return figure
