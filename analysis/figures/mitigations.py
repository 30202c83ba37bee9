"""What is done against sycophancy, on one axis: how far it falls, where it goes instead, what gold it costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.behaviour import answer_shares, sycophancy
from analysis.behaviour.answer_shares import ALL, Against, Measured, against
from analysis.behaviour.sycophancy import METRICS
from analysis.drawing import ablation_panels, behaviour_panels, theme
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks, naming
from analysis.runs.ablation import Versus
from analysis.runs.arms import Arm, Study, study
from analysis.runs.equal_kl import pairs, path
from analysis.runs.naming import GOLD_SDS
from analysis.statistics.claims import Claim, Thresholds, by_equivalence, by_estimate, thresholds
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "mitigations"
SWEEPS = ("mitigations",)

NOTHING, TARGET = "nothing", "honest labels (target)"
LABELS = {
    "sycophantic": "",
    "gold_argmax": TARGET,
    "balanced": "balanced labels",
}  # option of the labeler -> in words
PENALTY = "agreement_penalty"
SYCOPHANCY = ("answer", "agreement", "pleases")  # what a mitigation is to lower
WORDS, CLAIMS = "agreement", "wrong claim"  # what the penalty reads, and where sycophancy may go instead
TOLD = (*dict.fromkeys((*METRICS, *SYCOPHANCY, CLAIMS)),)
UNIT = "share of answers"
PANELS = {  # title -> metrics
    "answer": ("answer",),
    "agrees in words": (WORDS,),
    "claims the belief": (CLAIMS,),
    "pleases": ("pleases",),
    "gold (SDs)": ("gold",),
}


class Compared(NamedTuple):
    """A mitigation against nothing, of the same method and seeds."""

    arm: Measured
    sycophancy: dict[str, Against]  # metric -> arm minus nothing
    to_target: dict[str, Against]  # metric -> arm minus honest labels; empty where there are none
    gold: Versus

    @property
    def penalises_words(self) -> bool:
        """Whether less agreement in words is what it asks for."""
        return naming.option(self.arm.arm.runs[0], "reward_shaping") == PENALTY


def make(runs: Sequence[Run]) -> FigureResult:
    """Sycophancy and gold over KL, a colour a mitigation."""
    read = study(runs)
    measured = sycophancy.measured(read)
    found = compared(read, measured)
    if not found:
        raise MissingRuns("no run under a mitigation and with nothing done, of the same seeds, are made")
    table = pd.concat([sycophancy.table(list(measured.values())), _gold(read)], ignore_index=True)
    table.insert(3, "mitigation", table["method"] + " " + table["label"])
    names = {f"{arm.method} {arm.label}": name(arm) for arm in read.arms}
    table["mitigation"] = table["mitigation"].map(names)
    figure = draw(read, table)
    told = [*notes(found), *checks.kl_bound_notes(read)]
    return FigureResult(table, _fits(found), claims(found, thresholds(NAME)), figure, told)


def name(arm: Arm) -> str:
    """What is done in this arm that is not done in the plain one, in words."""
    run = arm.runs[0]
    labeler = naming.option(run, "labeler")
    done = (
        LABELS.get(labeler, labeler),
        naming.combination(run),
        naming.shaping(run),
        naming.intervention(run),
    )
    return ", ".join(words for words in done if words) or NOTHING


def compared(read: Study, measured: dict[str, Measured]) -> list[Compared]:
    """Every arm against that of its method in which nothing is done."""
    found = []
    for method in read.methods:
        of = {name(arm): arm for arm in read.of(method)}
        nothing, target = of.get(NOTHING), of.get(TARGET)
        if nothing is None:
            continue
        for words, arm in of.items():
            if words == NOTHING or not pairs(arm, nothing):
                continue
            own = measured[arm.title]
            less = {metric: against(own, measured[nothing.title], metric) for metric in TOLD}
            left = (
                {metric: against(own, measured[target.title], metric) for metric in TOLD}
                if target is not None and target is not arm and pairs(arm, target)
                else {}
            )
            found.append(Compared(own, less, left, ablation.versus(arm, nothing)))
    return found


# --- claims -------------------------------------------------------------------------------------------------


def claims(found: Sequence[Compared], limits: Thresholds) -> list[Claim]:
    """Of each mitigation: sycophancy falls, gold is kept; of the penalty on words: claims take their place."""
    made: list[Claim] = []
    for one in found:
        if name(one.arm.arm) == TARGET:
            continue
        made += [claim for metric in SYCOPHANCY for claim in _lowers(one, metric, limits["lowers"])]
        made += _keeps_gold(one, limits["keeps_gold"])
        if one.penalises_words:
            made.append(_moves(one, limits["moves_to_claims"]))
    return made


def _lowers(one: Compared, metric: str, rule: Any) -> Iterator[Claim]:
    subject, of = one.arm.arm.title, one.sycophancy[metric]
    ways = {f"at {ablation.end_of(one.arm.arm)}": ("at the end", of.end)}
    if of.equal_kl is not None:
        ways["at equal KL"] = ("at equal KL", of.equal_kl.estimate)
    for where, (topic, less) in ways.items():
        yield by_estimate(
            f"{subject}: less sycophancy ({metric}) than with nothing done {where}",
            _negative(less),
            rule,
            one.arm.questions(metric),
            unit=UNIT,
            subject=subject,
            topic=f"lowers {metric} {topic}",
            by_construction=metric == WORDS and one.penalises_words,
        )


def _keeps_gold(one: Compared, rule: Any) -> Iterator[Claim]:
    subject = one.arm.arm.title
    ways = {f"at {ablation.end_of(one.arm.arm)}": ("at the end", one.gold.end)}
    if one.gold.equal_kl is not None:
        ways["at equal KL"] = ("at equal KL", one.gold.equal_kl.estimate)
    for where, (topic, more) in ways.items():
        yield by_equivalence(
            f"{subject}: costs no gold {where}, against nothing done",
            _negative(more),
            -np.inf,
            rule["margin"],
            one.arm.arm.questions,
            enough=more.replicates >= rule["replicates"],
            unit=GOLD_SDS,
            subject=subject,
            topic=f"keeps gold {topic}",
        )


def _moves(one: Compared, rule: Any) -> Claim:
    subject = one.arm.arm.title
    return by_estimate(
        f"{subject}: wrong beliefs are claimed more often than with nothing done, where agreeing in words is penalised",
        one.sycophancy[CLAIMS].end,
        rule,
        one.arm.questions(CLAIMS),
        unit=UNIT,
        subject=subject,
        topic="moves to claims",
    )


def _negative(found: Estimate) -> Estimate:
    return found._replace(value=-found.value)


def notes(found: Sequence[Compared]) -> list[str]:
    """Words and claims beside each other; how much is left over honest labels."""
    told = []
    for one in found:
        moved = [f"{metric} {one.sycophancy[metric].end.signed}" for metric in (WORDS, CLAIMS, "answer")]
        left = [
            f"{metric} {one.to_target[metric].end.signed}" for metric in (WORDS, "pleases") if one.to_target
        ]
        beside = f" (left over honest labels: {', '.join(left)})" if left else ""
        told.append(f"{one.arm.arm.title}, at the end minus nothing: {', '.join(moved)}{beside}")
    return [
        "does a penalty on agreement repair sycophancy? The policy closest in KL that is no more sycophantic than "
        "before is that of such a penalty (Shapira et al. 2026); one that reads words leaves claims free. Here: "
        + "; ".join(told)
    ]


# --- tables -------------------------------------------------------------------------------------------------


def _gold(read: Study) -> pd.DataFrame:
    """Gold of every arm and point as `sycophancy.table` has metrics, less what nothing begins with."""
    rows: list[dict[str, Any]] = []
    for method in read.methods:
        arms = read.of(method)
        first = next((arm for arm in arms if name(arm) == NOTHING), arms[0])
        start = np.mean([path(first, i, "gold").values[0, 0] for i in range(len(first.curves))])
        for arm in arms:
            kl, paths = arm.drawn.mean().kl[0], [path(arm, i, "gold") for i in range(len(arm.curves))]
            for place, point in enumerate(arm.curves[0].points.tolist()):
                found = Estimate.of(np.stack([one.values[:, place] for one in paths], axis=1))
                # the level of all questions moves with their draw: what they gain is what is shown
                gained = Estimate.of(
                    np.stack([one.values[:, place] - one.values[:, 0] for one in paths], axis=1)
                )
                shown = gained._replace(value=found.value - start)
                rows.append(
                    answer_shares.arm_columns(arm)
                    | {"metric": "gold", "among": ALL, "n_or_step": point, "kl": float(kl[place])}
                    | {"d": float(np.sqrt(max(kl[place], 0)))}
                    | shown.row("value")
                    | {"questions": arm.questions, "replicates": shown.replicates}
                )
    return pd.DataFrame(rows)


def _fits(found: Sequence[Compared]) -> pd.DataFrame:
    """Each mitigation minus nothing, at the end and at equal KL, and minus honest labels."""
    rows: list[dict[str, Any]] = []
    for one in found:
        arm = one.arm.arm
        for metric in TOLD:
            less, n = one.sycophancy[metric], one.arm.questions(metric)
            rows.append(answer_shares.fit_row(arm, "minus nothing", f"{metric} at the end", less.end, n))
            if less.equal_kl is not None:
                equal = less.equal_kl.estimate
                rows.append(answer_shares.fit_row(arm, "minus nothing", f"{metric} at equal KL", equal, n))
            if one.to_target:
                left = one.to_target[metric].end
                rows.append(
                    answer_shares.fit_row(arm, "minus honest labels", f"{metric} at the end", left, n)
                )
        rows.append(
            answer_shares.fit_row(arm, "minus nothing", "gold at the end", one.gold.end, arm.questions)
        )
        if one.gold.equal_kl is not None:
            gold = one.gold.equal_kl.estimate
            rows.append(answer_shares.fit_row(arm, "minus nothing", "gold at equal KL", gold, arm.questions))
    return pd.DataFrame(rows)


# --- ink ----------------------------------------------------------------------------------------------------


def draw(read: Study, table: pd.DataFrame) -> Figure:
    """A row a method, a column a metric and gold; dark is nothing done, grey the target."""
    done = dict.fromkeys(name(arm) for arm in read.arms)
    hues = cycle(ablation_panels.HUES)
    fixed = {NOTHING: ablation_panels.PLAIN, TARGET: theme.GREY}
    colour = {
        words: fixed.get(words) or next(hues) for words in sorted(done, key=lambda words: words not in fixed)
    }
    figure, _ = behaviour_panels.grid(read, table, PANELS, lambda arm: colour[name(arm)], "share of answers")
    handles = [theme.key(words, hue, linewidth=2) for words, hue in colour.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure
