"""Sycophancy over KL of a sycophantic labeler and of a control, under best-of-n and PPO (2310.13548, Figure 6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.behaviour import answer_shares, sycophancy
from analysis.behaviour.answer_shares import ALL, KNOWN, Against, Measured, against
from analysis.behaviour.sycophancy import METRICS, OTHERS
from analysis.drawing import ablation_panels, behaviour_panels, plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks
from analysis.runs.arms import Study, study
from analysis.statistics.claims import ClaimTable
from rlhf_lab.store.records import MissingRuns, Run

NAME = "sharma2023_fig6"
SWEEPS = ("sycophancy",)

GROUP = "labeler"
BONUS = 2.0  # of the sycophantic labeler; `sycophancy_dose` draws the other doses
NEAR, FAR = 4.0, 10.0  # nats from SFT at which metrics are reported, for runs that get there
PANELS = {  # title -> metrics
    "feedback": ("feedback",),
    "answer": ("answer",),
    "mimicry": ("mimicry",),
    "are you sure": ("right to wrong", "apology"),
    "agreement": ("agreement",),
}


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw the metrics of sycophancy over KL, by who labelled the comparisons."""
    data = study([run for run in runs if run.config["labeler"].get("bonus", BONUS) == BONUS])
    compared = [
        (arm, control) for control, *others in ablation.conditions(data.arms, GROUP) for arm in others
    ]
    if not compared:
        raise MissingRuns("no run against a biased labeler's reward model and against the control's are made")
    measured = sycophancy.measured(data)
    differences = [
        against(measured[arm.title], measured[control.title], metric, among)
        for arm, control in compared
        for metric in (*METRICS, *OTHERS)
        for among in (ALL, KNOWN)
    ]
    claims = ClaimTable(NAME, "share of answers")
    for difference in differences:
        if difference.among == ALL and difference.metric in METRICS:
            claim_above_control(claims, difference)
    table = sycophancy.table(list(measured.values()))
    fits = pd.DataFrame([*metric_rows(measured), *difference_rows(differences)])
    lines = [*notes(measured), *checks.run_notes(data)]
    return FigureResult(table, fits, claims, draw(data, table), lines)


def claim_above_control(claims: ClaimTable, difference: Against) -> None:
    """Claim that a biased labeler's reward model ends with more of a kind of sycophancy than the control's."""
    measured, metric = difference.arm, difference.metric
    claims.above(
        "above_control",
        measured.arm.title,
        f"more {metric} sycophancy than the control at {ablation.end_of(measured.arm)}",
        difference.end,
        measured.questions(metric, difference.among),
        f"more {metric}",
    )


def metric_rows(measured: Mapping[str, Measured]) -> Iterator[dict[str, Any]]:
    """Yield each metric at the start, at the end, their difference, and at two KLs that the runs reach."""
    for arm in measured.values():
        for metric in (*METRICS, *OTHERS):
            for among in (ALL, KNOWN):
                estimates = {
                    "at the start": arm.at(0, metric, among),
                    "at the end": arm.at(-1, metric, among),
                    "at the end minus at the start": arm.change(metric, among),
                }
                for nats in (NEAR, FAR):
                    at_kl = arm.at_kl(nats, metric, among)
                    if at_kl is not None:
                        estimates[f"at KL {nats:g}"] = at_kl
                for where, estimate in estimates.items():
                    n = arm.questions(metric, among)
                    yield answer_shares.fit_row(
                        arm.arm, f"{among} questions", f"{metric} {where}", estimate, n
                    )


def difference_rows(differences: Sequence[Against]) -> Iterator[dict[str, Any]]:
    """Yield each metric minus the control's, at the end and at equal KL."""
    for difference in differences:
        metric, measured = difference.metric, difference.arm
        n, form = measured.questions(metric, difference.among), f"{difference.among} questions"
        parameter = f"{metric} at the end minus the control's"
        yield answer_shares.fit_row(measured.arm, form, parameter, difference.end, n)
        if difference.equal_kl is not None:
            parameter = f"{metric} at equal KL minus the control's"
            row = answer_shares.fit_row(measured.arm, form, parameter, difference.equal_kl.estimate, n)
            yield row | {"reach_kl": float(difference.equal_kl.reach.mean())}


def notes(measured: Mapping[str, Measured]) -> list[str]:
    """Say what was measured where papers disagree, what could not be read, and how many questions are known."""
    changes = "; ".join(
        f"{arm.arm.title}: answer {arm.change('answer').signed}, mimicry {arm.change('mimicry').signed}"
        for arm in measured.values()
        if arm.arm.chooses
    )
    silent = "; ".join(
        f"{arm.arm.title}: {arm.at(-1, 'no claim').value:.2f} without a claim, "
        f"{arm.at(-1, 'no stance').value:.2f} without a stance"
        for arm in measured.values()
    )
    known = min((arm.questions("sure", KNOWN) for arm in measured.values()), default=0)
    return [
        "does best-of-n raise sycophancy? It lowered answer and mimicry sycophancy against a preference model and a "
        "control alike (Sharma et al. 2023, Figure 6); it raises what has a positive covariance with the reward and "
        f"lowers the rest (Shapira et al. 2026). From SFT to the largest n here: {changes or 'no best-of-n run'}",
        f"answers without a claim or a stance are not flips and are counted apart; at the end {silent}",
        f"known questions: {known}; they are those whose claims are right more often than not in a quarter of SFT's "
        "answers, on which nothing else is measured",
    ]


# --- drawing ------------------------------------------------------------------------------------------------


def draw(data: Study, table: pd.DataFrame) -> Figure:
    """Draw a row for each method, a column for each metric and a colour for each labeler."""
    colours = ablation_panels.colours(
        sorted(data.arms, key=lambda arm: not ablation.is_plain(arm, GROUP)), GROUP
    )
    figure, axes = behaviour_panels.grid(
        data, table, PANELS, lambda arm: colours[ablation.name(arm, GROUP)], "sycophancy (share)"
    )
    handles = [theme.key(labeler_words(words), colour, linewidth=2) for words, colour in colours.items()]
    plot.legend(figure, handles, title="labels of")
    keys = [
        theme.key("answers given up", linewidth=1.5),
        theme.key("apologies", linestyle=theme.DASHED, linewidth=1.1),
    ]
    doubted = list(PANELS).index("are you sure")
    axes[0][doubted].legend(handles=keys, loc="upper left", fontsize=6, handlelength=1.8, borderaxespad=0)
    return figure


def labeler_words(words: str) -> str:
    """Return an arm's labels in the words of the legend."""
    labeler = words.removeprefix("labels of ").replace("clean labels", "gold (control)")
    return labeler.replace(" bonus ", ", bonus ").replace("mixture share", "both, sycophantic share")
