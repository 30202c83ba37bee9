"""What best-of-n makes of a labeler's taste for a sure tone, or for length, over the strength of that taste."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.behaviour import answer_shares
from analysis.behaviour.answer_shares import Key, Shares, prompt_shares, scored_answers
from analysis.behaviour.doses import Doses, dose, dosed, drift
from analysis.best_of_n.curves import Curves
from analysis.drawing import plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import study
from analysis.runs.naming import GOLD_SDS
from analysis.statistics.claims import ClaimTable
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "labeler_dose"
SWEEPS = ("labeler_dose",)

SURE: Key = ("sure", "all")
TOKENS: Key = ("tokens", "all")
GOLD: Key = ("gold", "all")


class Taste(NamedTuple):
    """What a labeler likes beside gold."""

    liked: Key
    words: str
    unit: str
    bonus: str  # what the labeler pays it for


TASTES = {  # by the option of the labeler
    "confident": Taste(SURE, "sure minus unsure answers", "share of answers", "for a sure tone"),
    "length": Taste(TOKENS, "length of an answer", "tokens", "a token"),
}


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw what each labeler likes, and gold, over the labeler's bonus."""
    chosen = [
        run for run in runs if run.method == "BestOfN" and any(dose(run, name) is not None for name in TASTES)
    ]
    if not chosen:
        raise MissingRuns("no best-of-n run against the reward model of such a labeler is made")
    data = study(chosen)
    arms = answer_shares.measure_arms(data, of_run)
    labelers = {run.choices["labeler"] for run in chosen}
    doses_of = {labeler: dosed(arms, labeler) for labeler in TASTES if labeler in labelers}
    if not doses_of:
        raise MissingRuns(f"only runs of gold's own labels are made, none of {' or '.join(TASTES)}")
    claims = ClaimTable(NAME)
    for labeler, doses in doses_of.items():
        claim_taste(claims, labeler, doses)
    table = pd.DataFrame([row for labeler, doses in doses_of.items() for row in rows(labeler, doses)])
    return FigureResult(table, fits_table(doses_of), claims, draw(table), checks.run_notes(data))


def of_run(run: Run, curves: Curves) -> dict[Key, Shares]:
    """Return sure minus unsure answers, tokens, and gold minus SFT's in SDs of SFT's."""
    answers = scored_answers(run, curves.points, ("gold", "tokens", "behaviour.sure", "behaviour.unsure"))
    gold = answers.number("gold")
    rise = answers.means(gold)
    values = {
        SURE: answers.means(answers.number("behaviour.sure") - answers.number("behaviour.unsure")),
        TOKENS: answers.means(answers.number("tokens")),
        GOLD: (rise - rise[:, :1]) / gold[answers.sft].std(),
    }
    every = answers.prompt >= 0
    return {key: prompt_shares(answers, curves.questions, every, means) for key, means in values.items()}


def rise_to_largest(doses: Doses, key: Key) -> Estimate:
    """Return what the largest dose has more than dose 0, by least squares over doses."""
    return doses.slope(*key).times(float(doses.doses.max()))


def claim_taste(claims: ClaimTable, labeler: str, doses: Doses) -> None:
    """Claim that what is liked grows with the bonus, that it costs gold, and that nothing changes without it."""
    taste = TASTES[labeler]
    n, largest = doses.plain.questions(*taste.liked), f"{doses.doses.max():g}"
    cost = rise_to_largest(doses, GOLD)
    claims.above(
        f"{taste.liked[0]}_grows",
        labeler,
        f"{taste.words} over the upper half of d: more at a bonus of {largest} than of 0",
        rise_to_largest(doses, taste.liked),
        n,
        "grows with the bonus",
        unit=taste.unit,
    )
    claims.above(
        "gold_falls",
        labeler,
        f"gold over the upper half of d: less at a bonus of {largest} than of 0",
        cost.times(-1),
        n,
        "costs gold",
        unit=GOLD_SDS,
    )
    claims.equivalent(
        f"{taste.liked[0]}_flat",
        labeler,
        f"{taste.words} over the upper half of d is SFT's at a bonus of 0",
        drift(doses.plain, *taste.liked),
        n,
        "flat at dose 0",
        unit=taste.unit,
    )


# --- tables -------------------------------------------------------------------------------------------------


def rows(labeler: str, doses: Doses) -> Iterator[dict[str, Any]]:
    """Yield a row for each dose and number."""
    for dosage, measured in zip(doses.doses.tolist(), doses.arms, strict=True):
        for key in (TASTES[labeler].liked, GOLD):
            late = Estimate.of(measured.late(*key).T)
            yield {
                "labeler": labeler,
                "dose": dosage,
                "number": key[0],
                "sft": measured.at(0, *key).value,
                **late.row("value"),
                "questions": measured.questions(*key),
                "replicates": late.replicates,
            }


def fits_table(doses_of: Mapping[str, Doses]) -> pd.DataFrame:
    """Return the slopes on the dose, and the drift at dose 0."""
    rows = []
    for labeler, doses in doses_of.items():
        for key in (TASTES[labeler].liked, GOLD):
            for parameter, estimate in (
                (f"slope of {key[0]} on the dose", doses.slope(*key)),
                (f"{key[0]} at dose 0 minus SFT's", drift(doses.plain, *key)),
            ):
                n = doses.plain.questions(*key)
                rows.append(answer_shares.fit_row(doses.plain.arm, labeler, parameter, estimate, n))
    return pd.DataFrame(rows)


# --- drawing ------------------------------------------------------------------------------------------------


def draw(table: pd.DataFrame) -> Figure:
    """Draw two panels for each labeler: what it likes, and gold, over its bonus, with SFT's level."""
    labelers = list(dict.fromkeys(table["labeler"]))
    figure = theme.blank(theme.WIDTH, 2.6)
    axes = iter(figure.subplots(1, 2 * len(labelers), squeeze=False)[0])
    for labeler in labelers:
        taste = TASTES[labeler]
        for number, words, unit, colour in (
            (taste.liked[0], taste.words, taste.unit, theme.ORANGE),
            ("gold", "gold", "SDs above SFT", "0.2"),
        ):
            panel = next(axes)
            draw_number(panel, table[(table["labeler"] == labeler) & (table["number"] == number)], colour)
            panel.set_title(words)
            panel.set_ylabel(unit)
            panel.set_xlabel(f"bonus (gold units\n{taste.bonus})")
    handles = [
        theme.key("best-of-n over the upper half of d, 95 % interval", "0.4", marker="o"),
        theme.key("SFT", theme.GREY, linestyle=theme.DASHED, linewidth=1),
    ]
    plot.legend(figure, handles)
    return figure


def draw_number(panel: Axes, rows: pd.DataFrame, colour: str) -> None:
    """Draw a number over the bonus with its intervals, and SFT's level."""
    panel.axhline(rows["sft"].mean(), color=theme.GREY, linestyle=theme.DASHED, linewidth=1)
    plot.intervals(panel, rows["dose"], rows["value"], rows["lo"], rows["hi"], colour, joined=True)
    panel.margins(x=0.1, y=0.15)
