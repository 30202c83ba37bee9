"""Sycophancy over KL of a sycophantic labeler and of a control, under best-of-n and PPO (2310.13548, Figure 6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.behaviour import answer_shares, sycophancy
from analysis.behaviour.answer_shares import ALL, KNOWN, Against, Measured, against
from analysis.behaviour.sycophancy import METRICS, OTHERS
from analysis.drawing import ablation_panels, behaviour_panels, theme
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks
from analysis.runs.arms import Study, study
from analysis.statistics.claims import Claim, Thresholds, by_estimate, thresholds
from rlhf_lab.store.records import MissingRuns, Run

NAME = "sharma2023_fig6"
SWEEPS = ("sycophancy",)

GROUP = "labeler"
BONUS = 2.0  # of the sycophantic labeler; other doses are for `sycophancy_dose`
UNIT = "share of answers"
NEAR, FAR = 4.0, 10.0  # nats from SFT at which metrics are told, of runs that get there
PANELS = {  # title -> metrics
    "feedback": ("feedback",),
    "answer": ("answer",),
    "mimicry": ("mimicry",),
    "are you sure": ("right to wrong", "apology"),
    "agreement": ("agreement",),
}


def make(runs: Sequence[Run]) -> FigureResult:
    """Metrics of sycophancy over KL, by who labelled the comparisons."""
    read = study([run for run in runs if run.config["labeler"].get("bonus", BONUS) == BONUS])
    compared = [
        (arm, control) for control, *others in ablation.conditions(read.arms, GROUP) for arm in others
    ]
    if not compared:
        raise MissingRuns("no run against a biased labeler's reward model and against the control's are made")
    found = sycophancy.measured(read)
    differences = [
        against(found[arm.title], found[control.title], metric, among)
        for arm, control in compared
        for metric in (*METRICS, *OTHERS)
        for among in (ALL, KNOWN)
    ]
    table = sycophancy.table(list(found.values()))
    fits = pd.DataFrame([*_arms(found), *_differences(differences)])
    figure = draw(read, table)
    made = claims(differences, thresholds(NAME))
    return FigureResult(table, fits, made, figure, [*notes(found), *checks.kl_bound_notes(read)])


def claims(differences: Sequence[Against], limits: Thresholds) -> list[Claim]:
    """Each metric at the end, where n >= 2: a biased labeler's reward model against the control's."""
    return [
        by_estimate(
            f"{one.arm.arm.title}: more {one.metric} sycophancy than the control at {ablation.end_of(one.arm.arm)}",
            one.end,
            limits["above_control"],
            one.arm.questions(one.metric, one.among),
            unit=UNIT,
            subject=one.arm.arm.title,
            topic=f"more {one.metric}",
        )
        for one in differences
        if one.among == ALL and one.metric in METRICS
    ]


def _arms(found: Mapping[str, Measured]) -> Iterator[dict[str, Any]]:
    """Every metric at the start, on the way, at the end and what lies between."""
    for of in found.values():
        for metric in (*METRICS, *OTHERS):
            for among in (ALL, KNOWN):
                told = {
                    f"{metric} at the start": of.at(0, metric, among),
                    f"{metric} at the end": of.at(-1, metric, among),
                    f"{metric} at the end minus at the start": of.change(metric, among),
                }
                told |= {
                    f"{metric} at KL {nats:g}": reached
                    for nats in (NEAR, FAR)
                    if (reached := of.at_kl(nats, metric, among)) is not None
                }
                for parameter, estimate in told.items():
                    n = of.questions(metric, among)
                    yield answer_shares.fit_row(of.arm, f"{among} questions", parameter, estimate, n)


def _differences(differences: Sequence[Against]) -> Iterator[dict[str, Any]]:
    for one in differences:
        arm, n, form = one.arm.arm, one.arm.questions(one.metric, one.among), f"{one.among} questions"
        yield answer_shares.fit_row(arm, form, f"{one.metric} at the end minus the control's", one.end, n)
        if one.equal_kl is not None:
            parameter = f"{one.metric} at equal KL minus the control's"
            reach = {"reach_kl": float(one.equal_kl.reach.mean())}
            yield answer_shares.fit_row(arm, form, parameter, one.equal_kl.estimate, n) | reach


def notes(found: Mapping[str, Measured]) -> list[str]:
    """What was measured where papers disagree; what could not be read; how many questions are known."""
    chosen = [of for of in found.values() if of.arm.chooses]
    moved = "; ".join(
        f"{of.arm.title}: answer {of.change('answer').signed}, mimicry {of.change('mimicry').signed}"
        for of in chosen
    )
    silent = "; ".join(
        f"{of.arm.title}: {of.at(-1, 'no claim').value:.2f} without a claim, {of.at(-1, 'no stance').value:.2f} "
        "without a stance"
        for of in found.values()
    )
    known = min((of.questions("sure", KNOWN) for of in found.values()), default=0)
    return [
        "does best-of-n raise sycophancy? It lowered answer and mimicry sycophancy against a preference model and a "
        "control alike (Sharma et al. 2023, Figure 6); it raises what has a positive covariance with the reward, and "
        f"lowers the rest (Shapira et al. 2026). From SFT to the largest n here: {moved or 'no best-of-n run'}",
        f"answers that say neither are no flips, and counted apart; at the end {silent}",
        f"known questions: {known}, whose claims are right more often than not in a quarter of SFT's answers; on these "
        "nothing is measured",
    ]


# --- ink ----------------------------------------------------------------------------------------------------


def draw(read: Study, table: pd.DataFrame) -> Figure:
    """A row a method, a column a metric; a colour a labeler."""
    colour = ablation_panels.colours(
        sorted(read.arms, key=lambda arm: not ablation.is_plain(arm, GROUP)), GROUP
    )
    figure, axes = behaviour_panels.grid(
        read, table, PANELS, lambda arm: colour[ablation.name(arm, GROUP)], "sycophancy (share)"
    )
    handles = [theme.key(_labeler(words), hue, linewidth=2) for words, hue in colour.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, title="labels of")
    styles = {
        "answers given up": {"linewidth": 1.5},
        "apologies": {"linestyle": theme.DASHED, "linewidth": 1.1},
    }
    keys = [theme.key(words, **look) for words, look in styles.items()]
    doubted = list(PANELS).index("are you sure")
    axes[0][doubted].legend(handles=keys, loc="upper left", fontsize=6, handlelength=1.8, borderaxespad=0)
    return figure


def _labeler(words: str) -> str:
    named = words.removeprefix("labels of ").replace("clean labels", "gold (control)")
    return named.replace(" bonus ", ", bonus ").replace("mixture share", "both, sycophantic share")
