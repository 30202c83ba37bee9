"""What is done against sycophancy, on one axis: how far it falls, where it goes instead, what gold it costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.behaviour import sycophancy
from analysis.behaviour.answer_shares import ALL, Against, Measured, against, arm_columns
from analysis.behaviour.sycophancy import METRICS
from analysis.drawing import ablation_panels, behaviour_panels, plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks, configuration, naming
from analysis.runs.ablation import Versus
from analysis.runs.arms import Arm, Study, arm_by, study
from analysis.runs.equal_kl import Difference, pairs, path
from analysis.runs.naming import GOLD_SDS
from analysis.runs.tables import estimate_row, with_interval
from analysis.statistics.claims import ClaimTable
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "mitigations"
SWEEPS = ("mitigations",)

NOTHING, TARGET = "nothing", "honest labels (target)"
LABELS = {  # option of the labeler -> in words
    "sycophantic": "",
    "gold_argmax": TARGET,
    "balanced": "balanced labels",
}
SYCOPHANCY = ("answer", "agreement", "pleases")  # what a mitigation is to lower
WORDS, WRONG_CLAIM = "agreement", "wrong claim"  # what the penalty reads, and where sycophancy may go instead
COMPARED = tuple(dict.fromkeys((*METRICS, *SYCOPHANCY, WRONG_CLAIM)))
UNIT = "share of answers"
PANELS = {  # title -> metrics
    "answer": ("answer",),
    "agrees in words": (WORDS,),
    "claims the belief": (WRONG_CLAIM,),
    "pleases": ("pleases",),
    "gold (SDs)": ("gold",),
}


class Mitigation(NamedTuple):
    """A mitigation compared with nothing done, of the same method and seeds."""

    measured: Measured
    minus_nothing: dict[str, Against]  # by metric
    minus_target: dict[str, Against]  # minus honest labels, by metric; empty where there are none
    gold: Versus

    @property
    def arm(self) -> Arm:
        """Return the arm under the mitigation."""
        return self.measured.arm

    @property
    def penalises_words(self) -> bool:
        """Return whether the mitigation is a penalty on agreement in words."""
        return configuration.option(self.arm.runs[0], "reward_shaping") == "agreement_penalty"


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw sycophancy and gold over KL, a colour for each mitigation."""
    data = study(runs)
    measured = sycophancy.measured(data)
    mitigations = compare(data, measured)
    if not mitigations:
        raise MissingRuns("no runs under a mitigation and with nothing done, of the same seeds, are made")
    claims = ClaimTable(NAME, UNIT)
    for mitigation in mitigations:
        if done_in(mitigation.arm) == TARGET:
            continue
        for metric in SYCOPHANCY:
            claim_lowers(claims, mitigation, metric)
        claim_keeps_gold(claims, mitigation)
        if mitigation.penalises_words:
            claim_moves_to_claims(claims, mitigation)
    table = pd.concat([sycophancy.table(list(measured.values())), gold_table(data)], ignore_index=True)
    names = {(arm.method, arm.label): done_in(arm) for arm in data.arms}
    table.insert(3, "mitigation", [names[key] for key in zip(table["method"], table["label"], strict=True)])
    lines = [*notes(mitigations), *checks.run_notes(data)]
    return FigureResult(table, differences_table(mitigations), claims, draw(data, table), lines)


def done_in(arm: Arm) -> str:
    """Return what is done in an arm that is not done in the plain one, in words."""
    run = arm.runs[0]
    labeler = configuration.option(run, "labeler")
    done = [
        LABELS.get(labeler, labeler),
        naming.combination(run),
        naming.shaping(run),
        naming.intervention(run),
    ]
    return ", ".join(words for words in done if words) or NOTHING


def compare(data: Study, measured: Mapping[str, Measured]) -> list[Mitigation]:
    """Compare each arm with the arm of its method in which nothing is done, and with that of honest labels."""
    mitigations = []
    for method in data.methods:
        arms = arm_by(data.of(method), done_in)
        nothing, target = arms.get(NOTHING), arms.get(TARGET)
        if nothing is None:
            continue
        for arm in arms.values():
            if arm is nothing or not pairs(arm, nothing):
                continue
            minus_nothing = minus(measured, arm, nothing)
            minus_target = {}
            if target is not None and arm is not target and pairs(arm, target):
                minus_target = minus(measured, arm, target)
            gold = ablation.versus(arm, nothing)
            mitigations.append(Mitigation(measured[arm.title], minus_nothing, minus_target, gold))
    return mitigations


def minus(measured: Mapping[str, Measured], arm: Arm, control: Arm) -> dict[str, Against]:
    """Return each metric of an arm minus that of its control."""
    return {metric: against(measured[arm.title], measured[control.title], metric) for metric in COMPARED}


def by_place(end: Estimate, equal_kl: Difference | None) -> dict[str, Estimate]:
    """Return a difference at the end and, where there is one, at equal KL."""
    return {"at the end": end} | ({} if equal_kl is None else {"at equal KL": equal_kl.estimate})


# --- claims -------------------------------------------------------------------------------------------------


def claim_lowers(claims: ClaimTable, mitigation: Mitigation, metric: str) -> None:
    """Claim that there is less of a metric than with nothing done, at the end and at equal KL."""
    difference = mitigation.minus_nothing[metric]
    for place, estimate in by_place(difference.end, difference.equal_kl).items():
        claims.above(
            "lowers",
            mitigation.arm.title,
            f"less sycophancy ({metric}) than with nothing done {in_a_sentence(place, mitigation.arm)}",
            negative(estimate),
            mitigation.measured.questions(metric),
            f"lowers {metric} {place}",
            by_construction=metric == WORDS and mitigation.penalises_words,
        )


def claim_keeps_gold(claims: ClaimTable, mitigation: Mitigation) -> None:
    """Claim that the mitigation costs no gold, at the end and at equal KL."""
    for place, estimate in by_place(mitigation.gold.end, mitigation.gold.equal_kl).items():
        claims.equivalent(
            "keeps_gold",
            mitigation.arm.title,
            f"costs no gold {in_a_sentence(place, mitigation.arm)}, compared with nothing done",
            negative(estimate),
            mitigation.arm.questions,
            f"keeps gold {place}",
            lo=-np.inf,
            unit=GOLD_SDS,
        )


def claim_moves_to_claims(claims: ClaimTable, mitigation: Mitigation) -> None:
    """Claim that wrong beliefs are claimed instead, where agreement in words is penalised."""
    claims.above(
        "moves_to_claims",
        mitigation.arm.title,
        "wrong beliefs are claimed more often than with nothing done, where agreement in words is penalised",
        mitigation.minus_nothing[WRONG_CLAIM].end,
        mitigation.measured.questions(WRONG_CLAIM),
        "moves to claims",
    )


def in_a_sentence(place: str, arm: Arm) -> str:
    """Return a place of `by_place` with the point that the end is at."""
    return f"at {ablation.end_of(arm)}" if place == "at the end" else place


def negative(estimate: Estimate) -> Estimate:
    """Return the estimate with its sign changed."""
    return estimate._replace(value=-estimate.value)


def notes(mitigations: Sequence[Mitigation]) -> list[str]:
    """Say what each mitigation does to words and to claims, and how much is left over honest labels."""
    lines = []
    for mitigation in mitigations:
        ends = [
            f"{metric} {with_interval(mitigation.minus_nothing[metric].end)}"
            for metric in (WORDS, WRONG_CLAIM, "answer")
        ]
        line = f"{mitigation.arm.title}, at the end minus nothing: {', '.join(ends)}"
        if mitigation.minus_target:
            left = [
                f"{metric} {with_interval(mitigation.minus_target[metric].end)}"
                for metric in (WORDS, "pleases")
            ]
            line += f" (left over honest labels: {', '.join(left)})"
        lines.append(line)
    return [
        "does a penalty on agreement repair sycophancy? Shapira et al. 2026 show that the policy closest in KL that is "
        "no more sycophantic than before is the one under such a penalty; a penalty that reads words leaves claims "
        "free. Here: " + "; ".join(lines)
    ]


# --- tables -------------------------------------------------------------------------------------------------


def gold_table(data: Study) -> pd.DataFrame:
    """Return gold of every arm and point above that with which the plain arm begins, in the columns of metrics."""
    return pd.DataFrame([row for method in data.methods for row in gold_rows(data.of(method))])


def gold_rows(arms: Sequence[Arm]) -> Iterator[dict[str, Any]]:
    """Yield the rows of gold of one method's arms.

    Intervals are those of the gain from the first point: the level of all questions moves with the draw of questions.
    """
    plain = next((arm for arm in arms if done_in(arm) == NOTHING), arms[0])
    start = np.mean([path(plain, index, "gold").values[0, 0] for index in range(len(plain.curves))])
    for arm in arms:
        kl = arm.drawn.mean().kl[0]
        gold = np.stack(
            [path(arm, index, "gold").values for index in range(len(arm.curves))], axis=1
        )  # (B, R, K)
        for place, point in enumerate(arm.curves[0].points.tolist()):
            gain = Estimate.of(gold[:, :, place] - gold[:, :, 0])
            level = gain._replace(value=float(gold[0, :, place].mean()) - start)
            yield {
                **arm_columns(arm),
                "metric": "gold",
                "among": ALL,
                "n_or_step": point,
                "kl": float(kl[place]),
                "d": float(np.sqrt(max(kl[place], 0))),
                **level.row("value"),
                "questions": arm.questions,
                "replicates": level.replicates,
            }


def differences_table(mitigations: Sequence[Mitigation]) -> pd.DataFrame:
    """Return each mitigation minus nothing, at the end and at equal KL, and minus honest labels at the end."""
    rows: list[dict[str, Any]] = []
    for mitigation in mitigations:
        arm = mitigation.arm
        for metric in COMPARED:
            difference, n = mitigation.minus_nothing[metric], mitigation.measured.questions(metric)
            for place, estimate in by_place(difference.end, difference.equal_kl).items():
                rows.append(estimate_row(arm, "minus nothing", f"{metric} {place}", estimate, n))
            if mitigation.minus_target:
                estimate = mitigation.minus_target[metric].end
                rows.append(estimate_row(arm, "minus honest labels", f"{metric} at the end", estimate, n))
        for place, estimate in by_place(mitigation.gold.end, mitigation.gold.equal_kl).items():
            rows.append(estimate_row(arm, "minus nothing", f"gold {place}", estimate))
    return pd.DataFrame(rows)


# --- drawing ------------------------------------------------------------------------------------------------


def draw(data: Study, table: pd.DataFrame) -> Figure:
    """Draw a row for each method and a column for each metric and gold; dark is nothing done, grey the target."""
    fixed = {NOTHING: ablation_panels.PLAIN, TARGET: theme.GREY}
    done = sorted(dict.fromkeys(done_in(arm) for arm in data.arms), key=lambda words: words not in fixed)
    hues = cycle(ablation_panels.HUES)
    colour_of = {words: fixed.get(words) or next(hues) for words in done}
    figure, _ = behaviour_panels.grid(
        data, table, PANELS, lambda arm: colour_of[done_in(arm)], "share of answers"
    )
    plot.legend(figure, [theme.key(words, colour, linewidth=2) for words, colour in colour_of.items()])
    return figure
