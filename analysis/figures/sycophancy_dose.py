"""Sycophancy of best-of-n over the bonus that the labeler gives to answers that please the user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.behaviour import answer_shares, sycophancy
from analysis.behaviour.answer_shares import ALL, KNOWN
from analysis.behaviour.doses import Doses, dose, dosed, drift
from analysis.behaviour.sycophancy import METRICS
from analysis.drawing import plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import study
from analysis.statistics.claims import ClaimTable
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "sycophancy_dose"
SWEEPS = ("sycophancy",)


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw each metric over the labeler's bonus, and what best-of-n makes of it at dose 0."""
    best_of_n = [(run, dose(run)) for run in runs if run.method == "BestOfN"]
    chosen = [run for run, bonus in best_of_n if bonus is not None and bonus >= 0]
    if not chosen:
        raise MissingRuns("no best-of-n run against a sycophantic labeler's reward model is made")
    data = study(chosen)
    doses = dosed(list(sycophancy.measured(data).values()))
    claims = ClaimTable(NAME, "share of answers")
    for metric in METRICS:
        claim_metric(claims, doses, metric)
    table = doses_table(doses)
    return FigureResult(table, fits_table(doses), claims, draw(doses, table), checks.run_notes(data))


def claim_metric(claims: ClaimTable, doses: Doses, metric: str) -> None:
    """Claim that a kind of sycophancy grows with the labeler's bonus, and that nothing changes at dose 0."""
    n = doses.plain.questions(metric)
    claims.above(
        "slope",
        "best-of-n",
        f"{metric} sycophancy over the upper half of d grows with the labeler's bonus",
        doses.slope(metric),
        n,
        f"{metric} grows",
        unit="share of answers a gold unit",
    )
    claims.equivalent(
        "flat",
        "best-of-n, dose 0",
        f"{metric} sycophancy over the upper half of d is SFT's",
        drift(doses.plain, metric),
        n,
        f"{metric} flat",
    )


def doses_table(doses: Doses) -> pd.DataFrame:
    """Return one row for each dose, metric and group of questions."""
    rows = []
    for dosage, measured in zip(doses.doses.tolist(), doses.arms, strict=True):
        for metric in METRICS:
            for among in (ALL, KNOWN):
                late = Estimate.of(measured.late(metric, among).T)
                rows.append(
                    {
                        **answer_shares.arm_columns(measured.arm),
                        "dose": dosage,
                        "metric": metric,
                        "among": among,
                        "sft": measured.at(0, metric, among).value,
                        **late.row("value"),
                        "questions": measured.questions(metric, among),
                        "replicates": late.replicates,
                    }
                )
    return pd.DataFrame(rows)


def fits_table(doses: Doses) -> pd.DataFrame:
    """Return the slopes on the dose, and the drift at dose 0."""
    arm = doses.plain.arm
    rows: list[dict[str, Any]] = []
    for metric in METRICS:
        for among in (ALL, KNOWN):
            n, form = doses.plain.questions(metric, among), f"{among} questions"
            slope, change = doses.slope(metric, among), drift(doses.plain, metric, among)
            rows.append(answer_shares.fit_row(arm, form, f"slope of {metric} on the dose", slope, n))
            rows.append(answer_shares.fit_row(arm, form, f"{metric} at dose 0 minus SFT's", change, n))
    return pd.DataFrame(rows)


# --- drawing ------------------------------------------------------------------------------------------------


def draw(doses: Doses, table: pd.DataFrame) -> Figure:
    """Draw a panel for each metric: its value over the dose, a line through it, and SFT's value."""
    figure, axes = theme.panels(len(METRICS), 2.3, sharey=False)
    all_questions = table[table["among"] == ALL]
    for panel, metric in zip(axes, METRICS, strict=True):
        draw_metric(panel, all_questions[all_questions["metric"] == metric], doses.slope(metric))
        panel.set_title(metric)
    axes[0].set_ylabel("sycophancy (share)\nover the upper half of d")
    axes[len(axes) // 2].set_xlabel("bonus of the labeler for what pleases the user (gold units)")
    handles = [
        theme.key("best-of-n, 95 % interval", theme.ORANGE, marker="o"),
        theme.key("least squares", theme.ORANGE, linewidth=1.2),
        theme.key("SFT", theme.GREY, linestyle=theme.DASHED, linewidth=1),
    ]
    plot.legend(figure, handles)
    return figure


def draw_metric(panel: Axes, rows: pd.DataFrame, slope: Estimate) -> None:
    """Draw one metric over the dose with its intervals and its least-squares line."""
    dosage = rows["dose"]
    panel.axhline(rows["sft"].mean(), color=theme.GREY, linestyle=theme.DASHED, linewidth=1)
    plot.intervals(panel, dosage, rows["value"], rows["lo"], rows["hi"], theme.ORANGE)
    line = rows["value"].mean() + slope.value * (dosage - dosage.mean())
    panel.plot(dosage, line, color=theme.ORANGE, linewidth=1.2)
    whole = [each for each in dosage if each == round(each)]
    panel.set_xticks(whole, [f"{each:g}" for each in whole])
    panel.margins(x=0.1, y=0.15)
