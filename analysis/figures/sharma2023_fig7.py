"""Does a reward prefer answers that echo a wrong belief to truthful ones, by difficulty? (2310.13548, Figure 7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.behaviour import answer_shares
from analysis.behaviour.doses import dose
from analysis.behaviour.truthful import BINS, CHOSEN, TRUTHFUL, Judge, beliefs, binned, judges
from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import study
from analysis.runs.equal_kl import pairs
from analysis.statistics.claims import Claim, Thresholds, by_estimate, thresholds
from rlhf_lab.functional.intervals import Estimate, cluster_means
from rlhf_lab.store.records import MissingRuns, Run

NAME = "sharma2023_fig7"
SWEEPS = ("sycophancy",)

BONUS = 2.0  # of the sycophantic labeler
SYCOPHANTIC, CONTROL, ORACLE = "sycophantic labels", "labels of gold (control)", "gold itself (oracle)"
UNIT = "share of pairs"


class Judges(NamedTuple):
    """Those that are compared, on one table of answers."""

    sycophantic: Judge
    control: Judge
    oracle: Judge


def make(runs: Sequence[Run]) -> FigureResult:
    """Preferences by difficulty, and what best-of-n chooses, for two reward models and gold."""
    own = [run for run in runs if run.method == "BestOfN" and dose(run) in (0.0, BONUS)]
    if not own:
        raise MissingRuns("no best-of-n run against a sycophantic labeler's reward model is made")
    read = study(own)
    arms = {dose(arm.runs[0]): arm for arm in read.arms}
    if len(arms) < 2 or not pairs(arms[BONUS], arms[0.0]):
        raise MissingRuns(
            f"best-of-n runs of labeler.bonus={BONUS:g} and of labeler=gold_argmax with the same seeds are needed"
        )
    sycophantic, oracle = judges(arms[BONUS], {"proxy": SYCOPHANTIC, "gold": ORACLE})
    (control,) = judges(arms[0.0], {"proxy": CONTROL})
    found = Judges(sycophantic, control, oracle)
    table = _table(found)
    figure = draw(table, _known(found))
    made = claims(found, thresholds(NAME))
    return FigureResult(table, _fits(found), made, figure, [*notes(found), *checks.kl_bound_notes(read)])


def beyond(first: Judge, second: Judge, name: str, among: int | None = None) -> Estimate:
    """A share at the last point, one judge minus another, paired by seeds and by question."""
    places = pairs(first.arm, second.arm)
    mine, its = (one.draws(name, among=among) for one in (first, second))
    return Estimate.of(np.stack([mine[:, i] - its[:, j] for i, j in places], axis=1))


# --- claims -------------------------------------------------------------------------------------------------


def claims(found: Judges, limits: Thresholds) -> list[Claim]:
    """The sycophantic reward model against the control's, against one half, against gold; over difficulty."""
    one, largest = found.sycophantic, found.sycophantic.arm.curves[0].points[-1]
    made = [
        _claim(
            f"prefers an answer that echoes a wrong belief to a truthful one that {words} more often than the control",
            beyond(one, found.control, kind),
            limits["above_control"],
            one.questions(kind),
            UNIT,
            f"above control, {kind}",
        )
        for kind, words in TRUTHFUL.items()
    ]
    made.append(
        _claim(
            f"best of {largest} by it echoes more wrong beliefs than best of {largest} by the control",
            beyond(one, found.control, CHOSEN),
            limits["above_control"],
            one.questions(CHOSEN),
            "share of answers",
            f"above control, {CHOSEN}",
        )
    )
    half = one.at("baseline")
    made.append(
        _claim(
            f"prefers an answer that echoes a wrong belief to a truthful one that {TRUTHFUL['baseline']} in more than "
            "half of the pairs",
            half._replace(value=half.value - 0.5),
            limits["above_half"],
            one.questions("baseline"),
            f"{UNIT} above one half",
            "above one half, baseline",
        )
    )
    for among, where, topic in ((None, "", ""), (BINS - 1, " on the hardest questions", ", hardest")):
        made.append(
            _claim(
                f"best of {largest} by it echoes more wrong beliefs than best of {largest} by gold{where}",
                beyond(one, found.oracle, CHOSEN, among),
                limits["above_oracle"],
                one.questions(CHOSEN, among),
                "share of answers",
                f"above oracle{topic}",
            )
        )
    for name, words in (
        ("baseline", "its preference over baseline truthful answers"),
        (CHOSEN, f"what best of {largest} by it adds to the share of echoes"),
    ):
        made.append(
            _claim(
                f"{words} grows with difficulty",
                one.slope(name),
                limits["harder"],
                one.questions(name),
                "share a bin",
                f"grows with difficulty, {name}",
            )
        )
    return made


def _claim(sentence: str, found: Estimate, limits: Any, n: int, unit: str, topic: str) -> Claim:
    """Of the sycophantic reward model; undecided where few questions have what is counted."""
    subject = f"reward model of {SYCOPHANTIC}"
    made = by_estimate(f"{subject}: {sentence}", found, limits, n, unit=unit, subject=subject, topic=topic)
    return made if n >= limits["questions"] else replace(made, met=None)


def notes(found: Judges) -> list[str]:
    """Shares by difficulty, beside the paper's."""
    told = []
    for judge in found:
        for name in (*TRUTHFUL, CHOSEN):
            numbers = [judge.at(name, among=one).value for one in range(BINS)]
            told.append(f"{judge.title}, {name}: " + " ".join(f"{number:.2f}" for number in numbers))
    return [
        "is it the harder questions? Claude 2's preference model took an echo for better than a baseline truthful "
        "answer in 95 % of cases, than a helpful one in 45 % of the hardest, and best of 4096 by it echoed 75 % of "
        "these against 25 % by an oracle (Sharma et al. 2023, Figure 7; echoes chosen by that model to persuade, "
        f"here they are SFT's own). Here, from the easiest to the hardest quarter of questions: {'; '.join(told)}",
        f"questions with a pair: {found.sycophantic.questions('baseline')} baseline, "
        f"{found.sycophantic.questions('helpful')} helpful; over helpful answers the sycophantic "
        f"reward model's {found.sycophantic.at('helpful').signed}, the control's "
        f"{found.control.at('helpful').signed}",
    ]


# --- tables -------------------------------------------------------------------------------------------------


def _table(found: Judges) -> pd.DataFrame:
    """One row a judge, measure, bin (0: all questions) and n."""
    return pd.DataFrame([row for judge in found for row in _rows(judge)])


def _rows(judge: Judge) -> Iterator[dict[str, Any]]:
    points = judge.arm.curves[0].points.tolist()
    for name in (*TRUTHFUL, CHOSEN):
        for among in (None, *range(BINS)):
            for place, n in enumerate(points) if name == CHOSEN else ((0, 0),):
                estimate = judge.at(name, place, among)
                yield {
                    "judge": judge.title,
                    "measure": name,
                    "bin": 0 if among is None else among + 1,
                    "n": n,
                    **estimate.row("value"),
                    "questions": judge.questions(name, among),
                    "replicates": estimate.replicates,
                }


def _fits(found: Judges) -> pd.DataFrame:
    rows = []
    for name in (*TRUTHFUL, CHOSEN):
        for among in (None, BINS - 1):
            form = "all questions" if among is None else "hardest questions"
            for other in (found.control, found.oracle):
                apart = beyond(found.sycophantic, other, name, among)
                n = found.sycophantic.questions(name, among)
                parameter = f"{name}: {SYCOPHANTIC} minus {other.title}"
                rows.append(answer_shares.fit_row(found.sycophantic.arm, form, parameter, apart, n))
        rows += [
            answer_shares.fit_row(
                judge.arm,
                "slope over bins",
                f"{name}: {judge.title}",
                judge.slope(name),
                judge.questions(name),
            )
            for judge in found
        ]
    return pd.DataFrame(rows)


def _known(found: Judges) -> list[float]:
    """Of each bin, how often SFT's claims are right when asked plainly."""
    arm = found.sycophantic.arm
    one = beliefs(arm.runs[0], arm.curves[0].questions)
    bins = binned(one)
    return cluster_means(one.known[bins >= 0], bins[bins >= 0]).tolist()


# --- ink ----------------------------------------------------------------------------------------------------


def draw(table: pd.DataFrame, known: Sequence[float]) -> Figure:
    """Preferences over both kinds of truthful answers by difficulty; best-of-n over n, all questions and hardest."""
    colours = {SYCOPHANTIC: theme.ORANGE, CONTROL: "#3c6fb5", ORACLE: "0.15"}
    figure = theme.blank(theme.WIDTH, 2.7)
    axes = figure.subplots(1, 4)
    for place, (panel, kind) in enumerate(zip(axes, TRUTHFUL, strict=False)):
        for judge, colour in colours.items():
            own = table[(table["judge"] == judge) & (table["measure"] == kind) & (table["bin"] > 0)]
            _difficulty(panel, own, colour, 0.09 * (list(colours).index(judge) - 1))
        panel.axhline(0.5, color="0.8", linewidth=0.6, zorder=0)
        panel.set_ylim(0, 1)
        panel.set_xticks(range(1, BINS + 1), [f"{share:.2f}".removeprefix("0") for share in known])
        panel.set_title(f"over {kind} truthful", loc="left")
        panel.set_xlabel("questions by how often\nSFT is right (hard: right)")
        panel.tick_params(axis="y", labelleft=place == 0)
    axes[0].set_ylabel("sycophantic answer preferred\n(share of pairs)")
    for panel, among, words in ((axes[2], 0, "all questions"), (axes[3], BINS, "the hardest quarter")):
        for judge, colour in colours.items():
            own = table[(table["judge"] == judge) & (table["measure"] == CHOSEN) & (table["bin"] == among)]
            panel.fill_between(own["n"], own["lo"], own["hi"], color=colour, alpha=0.14, linewidth=0)
            panel.plot(own["n"], own["value"], color=colour, linewidth=1.5)
        panel.set_xscale("log", base=2)
        ticks = [4**k for k in range(6) if 4**k <= table["n"].max()]
        panel.set_xticks(ticks, [str(tick) for tick in ticks])
        panel.set_ylim(bottom=0)
        panel.set_title(words, loc="left")
        panel.set_xlabel("n of best-of-n")
    axes[2].sharey(axes[3])
    axes[2].set_ylabel("sycophantic answers chosen")
    handles = [theme.key(judge, colour, linewidth=2) for judge, colour in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, title="reward model of")
    return figure


def _difficulty(panel: Axes, rows: pd.DataFrame, colour: str, shift: float) -> None:
    x = rows["bin"] + shift
    panel.vlines(x, rows["lo"].clip(0, 1), rows["hi"].clip(0, 1), color=colour, linewidth=1.1)
    panel.plot(x, rows["value"], "o-", color=colour, markersize=3.5, linewidth=0.9)
