"""Sycophancy of best-of-n over how much the labeler is given to being pleased."""

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
from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import Arm, study
from analysis.statistics.claims import Claim, Thresholds, by_equivalence, by_estimate, thresholds
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "sycophancy_dose"
SWEEPS = ("sycophancy",)


def make(runs: Sequence[Run]) -> FigureResult:
    """Each metric over the dose, and what best-of-n makes of it at dose 0."""
    own = [run for run in runs if run.method == "BestOfN" and (of := dose(run)) is not None and of >= 0]
    if not own:
        raise MissingRuns("no best-of-n run against a sycophantic labeler's reward model is made")
    read = study(own)
    found = dosed(list(sycophancy.measured(read).values()))
    table = _table(found)
    made, figure = claims(found, thresholds(NAME)), draw(found, table)
    return FigureResult(table, _fits(found), made, figure, checks.kl_bound_notes(read))


def claims(found: Doses, limits: Thresholds) -> list[Claim]:
    """The slope of each metric on the dose; that nothing changes at dose 0."""
    made = []
    plain, rule = found.plain, limits["flat"]
    for metric in METRICS:
        n = plain.questions(metric)
        made.append(
            by_estimate(
                f"{metric} sycophancy over the upper half of d grows with the labeler's bonus",
                found.slope(metric),
                limits["slope"],
                n,
                unit="share of answers a gold unit",
                subject="best-of-n",
                topic=f"{metric} grows",
            )
        )
        made.append(
            by_equivalence(
                f"dose 0: {metric} sycophancy over the upper half of d is SFT's",
                drift(plain, metric),
                -rule["margin"],
                rule["margin"],
                n,
                enough=len(plain.arm.seeds) >= rule["replicates"],
                unit="share of answers",
                subject="best-of-n, dose 0",
                topic=f"{metric} flat",
            )
        )
    return made


def _table(found: Doses) -> pd.DataFrame:
    rows = []
    for of, one in zip(found.doses.tolist(), found.arms, strict=True):
        for metric in METRICS:
            for among in (ALL, KNOWN):
                start, end = one.at(0, metric, among), Estimate.of(one.late(metric, among).T)
                rows.append(
                    answer_shares.arm_columns(one.arm)
                    | {"dose": of, "metric": metric, "among": among, "sft": start.value}
                    | end.row("value")
                    | {"questions": one.questions(metric, among), "replicates": end.replicates}
                )
    return pd.DataFrame(rows)


def _fits(found: Doses) -> pd.DataFrame:
    plain: Arm = found.plain.arm
    rows: list[dict[str, Any]] = []
    for metric in METRICS:
        for among in (ALL, KNOWN):
            n, form = found.plain.questions(metric, among), f"{among} questions"
            slope = found.slope(metric, among)
            rows.append(answer_shares.fit_row(plain, form, f"slope of {metric} on the dose", slope, n))
            moved = drift(found.plain, metric, among)
            rows.append(answer_shares.fit_row(plain, form, f"{metric} at dose 0 minus SFT's", moved, n))
    return pd.DataFrame(rows)


# --- ink ----------------------------------------------------------------------------------------------------


def draw(found: Doses, table: pd.DataFrame) -> Figure:
    """A panel a metric: its value over the dose, a line through it, and SFT's."""
    figure, axes = theme.panels(len(METRICS), 2.3, sharey=False)
    whole = table[table["among"] == ALL]
    for panel, metric in zip(axes, METRICS, strict=True):
        _panel(panel, whole[whole["metric"] == metric], found.slope(metric))
        panel.set_title(metric)
    axes[0].set_ylabel("sycophancy (share)\nover the upper half of d")
    axes[len(axes) // 2].set_xlabel("bonus of the labeler for what pleases the user (gold units)")
    handles = [
        theme.key("best-of-n, 95 % interval", theme.ORANGE, marker="o"),
        theme.key("least squares", theme.ORANGE, linewidth=1.2),
        theme.key("SFT", theme.GREY, linestyle=theme.DASHED, linewidth=1),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _panel(panel: Axes, rows: pd.DataFrame, slope: Estimate) -> None:
    panel.axhline(rows["sft"].mean(), color=theme.GREY, linestyle=theme.DASHED, linewidth=1)
    panel.vlines(rows["dose"], rows["lo"], rows["hi"], color=theme.ORANGE, linewidth=1.2)
    panel.plot(rows["dose"], rows["value"], "o", color=theme.ORANGE, markersize=4)
    away = rows["dose"] - rows["dose"].mean()
    panel.plot(rows["dose"], rows["value"].mean() + slope.value * away, color=theme.ORANGE, linewidth=1.2)
    whole = [of for of in rows["dose"] if of == round(of)]
    panel.set_xticks(whole, [f"{of:g}" for of in whole])
    panel.margins(x=0.1, y=0.15)
