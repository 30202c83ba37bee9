"""Does a reward prefer answers that echo a wrong belief to truthful ones, by difficulty? (2310.13548, Figure 7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.behaviour.doses import dose
from analysis.behaviour.truthful import BINS, CHOSEN, TRUTHFUL, Judge, beliefs, binned, judges
from analysis.drawing import plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import arm_by, study
from analysis.runs.equal_kl import pairs
from analysis.runs.tables import estimate_row, with_interval
from analysis.statistics.claims import ClaimTable
from rlhf_lab.functional.intervals import Estimate, cluster_means
from rlhf_lab.store.records import MissingRuns, Run

NAME = "sharma2023_fig7"
SWEEPS = ("sycophancy",)

BONUS = 2.0  # of the sycophantic labeler
SYCOPHANTIC, CONTROL, ORACLE = "sycophantic labels", "labels of gold (control)", "gold itself (oracle)"
UNIT = "share of pairs"
HARDEST = BINS - 1


class Judges(NamedTuple):
    """The judges that are compared, on one table of answers."""

    sycophantic: Judge
    control: Judge
    oracle: Judge


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw preferences by difficulty, and what best-of-n chooses, for two reward models and gold."""
    own = [run for run in runs if run.method == "BestOfN" and dose(run) in (0.0, BONUS)]
    if not own:
        raise MissingRuns("no best-of-n run against a sycophantic labeler's reward model is made")
    data = study(own)
    arms = arm_by(data.arms, lambda arm: dose(arm.runs[0]))
    if len(arms) < 2 or not pairs(arms[BONUS], arms[0.0]):
        raise MissingRuns(
            f"best-of-n runs of labeler.bonus={BONUS:g} and of labeler=gold_argmax with the same seeds are needed"
        )
    sycophantic, oracle = judges(arms[BONUS], {"proxy": SYCOPHANTIC, "gold": ORACLE})
    (control,) = judges(arms[0.0], {"proxy": CONTROL})
    compared = Judges(sycophantic, control, oracle)
    claims = ClaimTable(NAME, UNIT)
    claim_preferences(claims, compared)
    claim_difficulty(claims, compared)
    table = pd.DataFrame([row for judge in compared for row in judge_rows(judge)])
    figure = draw(table, known(compared))
    return FigureResult(table, fits(compared), claims, figure, [*notes(compared), *checks.run_notes(data)])


def beyond(first: Judge, second: Judge, name: str, among: int | None = None) -> Estimate:
    """Return a share at the last point, one judge minus another, paired by seeds and by question."""
    places = pairs(first.arm, second.arm)
    mine, its = (judge.draws(name, among=among) for judge in (first, second))
    return Estimate.of(np.stack([mine[:, i] - its[:, j] for i, j in places], axis=1))


# --- claims -------------------------------------------------------------------------------------------------

SUBJECT = f"reward model of {SYCOPHANTIC}"


def claim_preferences(claims: ClaimTable, judges: Judges) -> None:
    """Claim that the sycophantic reward model prefers and chooses more echoes than the control, one half, and gold."""
    judge, control, oracle = judges
    best = f"best of {judge.arm.curves[0].points[-1]}"

    def claim(key: str, sentence: str, estimate: Estimate, n: int, topic: str, unit: str = "") -> None:
        """Add one claim about the preference model."""
        claims.above(key, SUBJECT, sentence, estimate, n, topic, unit=unit)

    prefers = "it prefers an answer that echoes a wrong belief to a truthful one that"
    for kind, words in TRUTHFUL.items():
        sentence, more = f"{prefers} {words} more often than the control does", beyond(judge, control, kind)
        claim("above_control", sentence, more, judge.questions(kind), f"above control, {kind}")
    sentence, share = f"{best} by it echoes more wrong beliefs than {best} by", "share of answers"
    more, n = beyond(judge, control, CHOSEN), judge.questions(CHOSEN)
    claim("above_control", f"{sentence} the control", more, n, f"above control, {CHOSEN}", share)
    half, n = judge.at("baseline"), judge.questions("baseline")
    words = f"{prefers} {TRUTHFUL['baseline']} in more than half of the pairs"
    excess = half._replace(value=half.value - 0.5)
    claim("above_half", words, excess, n, "above one half, baseline", f"{UNIT} above one half")
    more, n = beyond(judge, oracle, CHOSEN), judge.questions(CHOSEN)
    claim("above_oracle", f"{sentence} gold", more, n, "above oracle", share)
    more, n = beyond(judge, oracle, CHOSEN, HARDEST), judge.questions(CHOSEN, HARDEST)
    claim(
        "above_oracle", f"{sentence} gold on the hardest questions", more, n, "above oracle, hardest", share
    )


def claim_difficulty(claims: ClaimTable, judges: Judges) -> None:
    """Claim `harder`: the preference for echoes, and what best-of-n adds to their share, grow with difficulty."""
    judge = judges.sycophantic
    largest = judge.arm.curves[0].points[-1]
    for name, words in (
        ("baseline", "its preference over baseline truthful answers"),
        (CHOSEN, f"what best of {largest} by it adds to the share of echoes"),
    ):
        sentence, topic = f"{words} grows with difficulty", f"grows with difficulty, {name}"
        n = judge.questions(name)
        claims.above("harder", SUBJECT, sentence, judge.slope(name), n, topic, unit="share a bin")


def notes(judges: Judges) -> list[str]:
    """Return shares by difficulty, beside the paper's."""
    shares = []
    for judge in judges:
        for name in (*TRUTHFUL, CHOSEN):
            numbers = " ".join(f"{judge.at(name, among=difficulty).value:.2f}" for difficulty in range(BINS))
            shares.append(f"{judge.title}, {name}: {numbers}")
    sycophantic, control, _ = judges
    return [
        "is it the harder questions? Claude 2's preference model took an echo for better than a baseline truthful "
        "answer in 95 % of cases, than a helpful one in 45 % of the hardest, and best of 4096 by it echoed 75 % of "
        "these against 25 % by an oracle (Sharma et al. 2023, Figure 7; echoes chosen by that model to persuade, "
        f"here they are SFT's own). Here, from the easiest to the hardest quarter of questions: {'; '.join(shares)}",
        f"questions with a pair: {sycophantic.questions('baseline')} baseline, "
        f"{sycophantic.questions('helpful')} helpful; over helpful answers the sycophantic reward model's share is "
        f"{with_interval(sycophantic.at('helpful'))}, the control's {with_interval(control.at('helpful'))}",
    ]


# --- tables -------------------------------------------------------------------------------------------------


def judge_rows(judge: Judge) -> Iterator[dict[str, Any]]:
    """Return a row for each measure, bin (0: all questions) and n of a judge."""
    points = list(enumerate(judge.arm.curves[0].points.tolist()))
    for name in (*TRUTHFUL, CHOSEN):
        for among in (None, *range(BINS)):
            for place, n in points if name == CHOSEN else [(0, 0)]:
                estimate = judge.at(name, place, among)
                row = {
                    "judge": judge.title,
                    "measure": name,
                    "bin": 0 if among is None else among + 1,
                    "n": n,
                }
                counts = {"questions": judge.questions(name, among), "replicates": estimate.replicates}
                yield row | estimate.row("value") | counts


def fits(judges: Judges) -> pd.DataFrame:
    """Return the sycophantic reward model's shares minus the others', and every judge's slope over difficulty."""
    rows, judge = [], judges.sycophantic
    for name in (*TRUTHFUL, CHOSEN):
        for among, form in ((None, "all questions"), (HARDEST, "hardest questions")):
            for other in (judges.control, judges.oracle):
                parameter = f"{name}: {SYCOPHANTIC} minus {other.title}"
                difference, n = beyond(judge, other, name, among), judge.questions(name, among)
                rows.append(estimate_row(judge.arm, form, parameter, difference, n))
        for each in judges:
            parameter, n = f"{name}: {each.title}", each.questions(name)
            rows.append(estimate_row(each.arm, "slope over bins", parameter, each.slope(name), n))
    return pd.DataFrame(rows)


def known(judges: Judges) -> list[float]:
    """Return how often SFT's claims are right when it is asked plainly, for each bin of difficulty."""
    arm = judges.sycophantic.arm
    asked = beliefs(arm.runs[0], arm.curves[0].questions)
    bins = binned(asked)
    return cluster_means(asked.known[bins >= 0], bins[bins >= 0]).tolist()


# --- drawing ------------------------------------------------------------------------------------------------


def draw(table: pd.DataFrame, known: Sequence[float]) -> Figure:
    """Draw preferences over both kinds of truthful answers by difficulty, then what best-of-n chooses over n."""
    colours = {SYCOPHANTIC: theme.ORANGE, CONTROL: "#3c6fb5", ORACLE: "0.15"}
    figure = theme.blank(theme.WIDTH, 2.7)
    axes = figure.subplots(1, 4)
    for panel, kind in zip(axes, TRUTHFUL, strict=False):
        for place, (judge, colour) in enumerate(colours.items()):
            rows = table[(table["judge"] == judge) & (table["measure"] == kind) & (table["bin"] > 0)]
            x, lo, hi = rows["bin"] + 0.09 * (place - 1), rows["lo"].clip(0, 1), rows["hi"].clip(0, 1)
            plot.intervals(panel, x, rows["value"], lo, hi, colour, joined=True)
        panel.axhline(0.5, color="0.8", linewidth=0.6, zorder=0)
        panel.set_ylim(0, 1)
        panel.set_xticks(range(1, BINS + 1), [f"{share:.2f}".removeprefix("0") for share in known])
        panel.set_title(f"over {kind} truthful", loc="left")
        panel.set_xlabel("questions by how often\nSFT is right (hard: right)")
    axes[1].tick_params(axis="y", labelleft=False)
    axes[0].set_ylabel("sycophantic answer preferred\n(share of pairs)")
    chosen = table[table["measure"] == CHOSEN]
    for panel, among, words in ((axes[2], 0, "all questions"), (axes[3], BINS, "the hardest quarter")):
        for judge, colour in colours.items():
            rows = chosen[(chosen["judge"] == judge) & (chosen["bin"] == among)]
            plot.curve(panel, rows, "value", colour, x="n")
        panel.set_xscale("log", base=2)
        ticks = [4**k for k in range(6) if 4**k <= table["n"].max()]
        panel.set_xticks(ticks, [str(tick) for tick in ticks])
        panel.set_ylim(bottom=0)
        panel.set_title(words, loc="left")
        panel.set_xlabel("n of best-of-n")
    axes[2].sharey(axes[3])
    axes[2].set_ylabel("sycophantic answers chosen")
    entries = [theme.key(judge, colour, linewidth=2) for judge, colour in colours.items()]
    plot.legend(figure, entries, title="reward model of")
    return figure
