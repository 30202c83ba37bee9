"""Ensembles by what members share, and faults that survive in them: best-of-n (2312.09244)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.behaviour.faults import FAULTS, change, rates
from analysis.drawing import ablation_panels, theme
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks
from analysis.runs.ablation import RULE, Versus
from analysis.runs.arms import Arm, Study, study
from analysis.runs.tables import points_table
from analysis.statistics.claims import Claim, Thresholds, by_estimate, thresholds
from rlhf_lab.store.records import MissingRuns, Run

NAME = "eisenstein2023"
SWEEPS = ("eisenstein2023",)

Rates = Mapping[str, list[dict[str, np.ndarray]]]  # title of an arm -> of each replicate, fault -> (C, K)


def make(runs: Sequence[Run]) -> FigureResult:
    """Gold over KL of one reward model and of ensembles, and how often the chosen answers are at fault."""
    read = study([run for run in runs if run.method == "BestOfN"])
    found, limits = ablation.compared(read, RULE), thresholds(NAME)
    if not found:
        raise MissingRuns("no best-of-n run of an ensemble and of its first member alone are made")
    found += between_ensembles(found)
    shown = {arm.title: rates(arm) for arm in read.arms}
    table = points_table(read)
    fits = pd.concat([ablation.differences_table(read.arms, found, RULE), _faults_table(read, shown)])
    notes = [*ablation.contested(read.arms), *checks.kl_bound_notes(read)]
    figure = draw(read, table, found, shown, limits["above_at_end"]["margin"])
    return FigureResult(table, fits, claims(read, found, shown, limits), figure, notes)


def between_ensembles(found: Sequence[Versus]) -> list[Versus]:
    """Members with trunks of their own against members that share one, under the same rule."""
    apart = {one.arm.title: one.arm for one in found}
    return [
        ablation.versus(arm, shared)
        for arm in apart.values()
        for shared in apart.values()
        if seeds(arm) == "pretrain" and seeds(shared) == "finetune" and arm.rm == shared.rm
    ]


def seeds(arm: Arm) -> str:
    """Which seeds the members of an ensemble differ in."""
    return str(arm.runs[0].config["rm_combination"].get("seeds", ""))


# --- claims -------------------------------------------------------------------------------------------------


def claims(read: Study, found: Sequence[Versus], shown: Rates, limits: Thresholds) -> list[Claim]:
    """Gold of ensembles at the end, what each arm loses, and faults of the answers that ensembles choose."""
    made = [ablation.above_at_end(one, RULE, limits["above_at_end"]) for one in found]
    made += [ablation.nothing_lost(arm, limits["nothing_lost"]) for arm in read.arms]
    ensembles = [arm for arm in read.arms if not ablation.is_plain(arm, RULE)]
    return made + [
        _survives(arm, shown[arm.title], fault, limits["fault_survives"])
        for arm in ensembles
        for fault in FAULTS
    ]


def _survives(arm: Arm, found: list[dict[str, np.ndarray]], fault: str, rule: ablation.Rule) -> Claim:
    return by_estimate(
        f"{arm.title}: more {fault} at {ablation.end_of(arm)} than among SFT's answers",
        *(change(arm, found, fault), rule, arm.questions),
        unit="share of answers",
        subject=arm.title,
        topic=f"more {fault}",
    )


def _faults_table(read: Study, shown: Rates) -> pd.DataFrame:
    """The share of every fault at the end minus that of SFT, with 95 % intervals."""
    rows = []
    for arm in read.arms:
        for fault in FAULTS:
            found = change(arm, shown[arm.title], fault)
            rows.append(
                {"method": arm.method, "rm": arm.rm, "label": arm.label, "form": "rate"}
                | {"parameter": f"{fault} at the end minus SFT's"}
                | found.row()
                | {"n": arm.questions, "replicates": found.replicates}
                | {"note": "95 % interval; share of answers"}
            )
    return pd.DataFrame(rows)


# --- ink ----------------------------------------------------------------------------------------------------


def draw(read: Study, table: pd.DataFrame, found: Sequence[Versus], shown: Rates, margin: float) -> Figure:
    """Gold and proxy over KL, the change of each fault's rate, differences of gold at the end."""
    arms = sorted(read.arms, key=lambda arm: not ablation.is_plain(arm, RULE))
    colour = ablation_panels.colours(arms, RULE)
    figure, axes = theme.panels(3, 3.4, sharey=False)
    ablation_panels.frontier(axes[0], table, arms, colour, RULE, ablation_panels.furthest(table, arms))
    axes[0].set_ylabel("reward (SDs of gold on the initial policy)")
    _draw_faults(axes[1], arms, shown, colour)
    rows = [(f"{ablation.name(one.arm, RULE)}\nminus {ablation.name(one.plain, RULE)}", one) for one in found]
    ablation_panels.differences(axes[2], rows, colour, RULE, margin)
    axes[2].set_xlabel("difference of gold\nat the end (SDs)")
    ablation_panels.legend(figure, colour)
    return figure


def _draw_faults(panel: Axes, arms: Sequence[Arm], shown: Rates, colour: Mapping[str, str]) -> None:
    """One row a fault, arms under each other: change of the share from SFT to the largest n."""
    panel.axvline(0, color="0.7", linewidth=0.6)
    for row, fault in enumerate(FAULTS):
        for place, arm in enumerate(arms):
            found, hue = change(arm, shown[arm.title], fault), colour[ablation.name(arm, RULE)]
            y = row + 0.2 * (place - (len(arms) - 1) / 2)
            panel.plot(found.interval(), [y, y], color=hue, linewidth=1.8)
            panel.plot(found.value, y, "o", color=hue, markersize=4)
    panel.set_yticks(range(len(FAULTS)), list(FAULTS))
    panel.invert_yaxis()
    panel.set_xlabel("share at the largest n\nminus SFT's")
