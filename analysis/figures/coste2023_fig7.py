"""Gold at the end of PPO against the KL penalty, one reward model and ensembles (2310.02743, Figures 6, 7)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.drawing import ablation_panels, theme
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks
from analysis.runs.ablation import RULE, Versus
from analysis.runs.arms import Arm, Study, study
from analysis.runs.gold_lost import split
from analysis.runs.naming import GOLD_SDS
from analysis.runs.penalties import coefficient
from analysis.runs.tables import points_table
from analysis.statistics.claims import Claim, Thresholds, both, by_estimate, exceeds, thresholds
from analysis.statistics.resampling import weights_of
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

Floats = NDArray[np.float64]

NAME = "coste2023_fig7"
SWEEPS = ("coste2023",)


def make(runs: Sequence[Run]) -> FigureResult:
    """Gold at the last checkpoint over coefficients of the penalty, and each ensemble minus the single reward model."""
    shown = penalties(study(runs))
    found, limits = ablation.compared(shown, RULE), thresholds(NAME)
    if not found:
        raise MissingRuns(
            "no PPO runs of an ensemble and of its first member alone under two penalties are made"
        )
    table = points_table(shown)
    fits = ablation.differences_table(shown.arms, found, RULE)
    figure = draw(shown, table, found, limits["not_below"]["margin"])
    return FigureResult(table, fits, claims(shown, found, limits), figure, checks.kl_bound_notes(shown))


def penalties(read: Study) -> Study:
    """The arms of PPO with labels under which there are two coefficients or more."""
    arms = read.of("ppo")
    seen: dict[str, set[float]] = {}
    for arm in arms:
        seen.setdefault(ablation.name(arm, "labeler"), set()).add(coefficient(arm))
    return Study(tuple(arm for arm in arms if len(seen[ablation.name(arm, "labeler")]) > 1))


def families(read: Study) -> dict[tuple[str, str], list[Arm]]:
    """Labels and rule in words -> the arms over coefficients, the smallest first; single reward models first."""
    found: dict[tuple[str, str], list[Arm]] = {}
    for arm in sorted(read.arms, key=lambda arm: (not ablation.is_plain(arm, RULE), coefficient(arm))):
        found.setdefault((ablation.name(arm, "labeler"), ablation.name(arm, RULE)), []).append(arm)
    return found


# --- claims -------------------------------------------------------------------------------------------------


def claims(read: Study, found: Sequence[Versus], limits: Thresholds) -> list[Claim]:
    """Of each ensemble over all penalties, against the single reward model."""
    made: list[Claim] = []
    for (labels, rule), arms in families(read).items():
        own = [one for one in found if one.arm in arms]
        if own:
            made.append(_not_below(f"PPO, {rule}, {labels}", own, limits["not_below"]))
            made += _best(f"PPO, {rule}, {labels}", arms, [one.plain for one in own], limits["best"])
    return made


def _not_below(title: str, found: Sequence[Versus], rule: ablation.Rule) -> Claim:
    """Gold at the end is not below that of the single reward model, under each penalty."""
    lowest = min(found, key=lambda one: one.end.value).end
    margin, states = rule["margin"], [exceeds(one.end.interval(0.90), -rule["margin"]) for one in found]
    met = states[0]
    for state in states[1:]:
        met = both(met, state)
    return Claim(
        claim=f"{title}: gold at the end is not below a single reward model's under any of {len(found)} penalties",
        measured=lowest.value,
        interval=lowest.interval(0.90),
        threshold=-margin,
        n=found[0].arm.questions,
        replicates=lowest.replicates,
        met=met if lowest.replicates >= rule["replicates"] else None,
        rule=f"met: every 90 % interval above {-margin:g}; not met: one is below; else undecided",
        unit=GOLD_SDS,
        subject=title,
        topic="not below single under any penalty",
        conditional=lowest.is_conditional,
    )


def _best(title: str, arms: Sequence[Arm], plain: Sequence[Arm], rule: ablation.Rule) -> list[Claim]:
    """Gold at the end under the best of the penalties is above that of the single reward model under its best."""
    common = [seeds for seeds in arms[0].seeds if all(seeds in arm.seeds for arm in (*arms, *plain))]
    if not common:
        return []
    apart = best_over(arms, common) - best_over(plain, common)  # (R, C)
    weights = weights_of(arms[0].drawn.resamples, arms[0].questions)
    found = Estimate.of(weights @ apart.T / weights.sum(axis=1, keepdims=True))
    return [
        by_estimate(
            f"{title}: more gold at the end under its best penalty than a single reward model under its own",
            *(found, rule, arms[0].questions),
            unit=GOLD_SDS,
            subject=title,
            topic="best penalty above single's best",
        )
    ]


def best_over(arms: Sequence[Arm], seeds: Sequence[str]) -> Floats:
    """(R, C): gold at the end under the best penalty, chosen on one half of the questions and measured on the other."""
    half = split(arms[0])
    gold = np.stack(
        [
            np.stack([arm.curves[arm.seeds.index(one)].by_question("gold")[:, -1] for one in seeds])
            for arm in arms
        ]
    )  # (A, R, C)
    by_half = [int(gold[:, :, side].mean(axis=(1, 2)).argmax()) for side in (half, ~half)]
    return np.where(half, gold[by_half[1]], gold[by_half[0]])


# --- ink ----------------------------------------------------------------------------------------------------


def draw(read: Study, table: pd.DataFrame, found: Sequence[Versus], margin: float) -> Figure:
    """A panel a share of flipped labels, a line a rule; then the differences."""
    of = families(read)
    colour = ablation_panels.colours([arms[0] for arms in of.values()], RULE)
    noises = list(dict.fromkeys(labels for labels, _ in of))
    figure, axes = theme.panels(len(noises) + 1, 3.3, sharey=False)
    for panel, noise in zip(axes, noises, strict=False):
        for (labels, rule), arms in of.items():
            if labels == noise:
                _draw_rule(panel, table, arms, colour[rule])
        panel.set_xlabel("coefficient of the KL penalty (SDs of the proxy a nat)")
        theme.letter(panel, noise)
        panel.margins(y=0.12)
    axes[0].set_ylabel("gold at the last checkpoint (SDs)")
    rows = [(f"{ablation.name(one.arm, RULE)}, {coefficient(one.arm):g}", one) for one in found]
    ablation_panels.differences(axes[-1], rows, colour, RULE, margin)
    axes[-1].set_xlabel("gold minus single\nat the end (SDs)")
    handles = [theme.key(words, hue, linewidth=2) for words, hue in colour.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _draw_rule(panel: Axes, table: pd.DataFrame, arms: Sequence[Arm], colour: str) -> None:
    """Mean gold with its 95 % interval at evenly spaced coefficients."""
    means = table[table["curve"] == "mean"]
    last = [means[means["label"] == arm.label].iloc[-1] for arm in arms]
    places, gold = np.arange(len(arms)), np.array([row["gold"] for row in last])
    lo, hi = (np.array([row[name] for row in last]) for name in ("gold_lo", "gold_hi"))
    panel.plot(places, gold, "o-", color=colour, markersize=4)
    panel.fill_between(places, lo, hi, color=colour, alpha=0.12, linewidth=0)
    panel.set_xticks(places, [f"{coefficient(arm):g}" for arm in arms])
