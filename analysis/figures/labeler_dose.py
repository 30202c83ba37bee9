"""What best-of-n makes of a labeler's taste for sure words or for length, over how strong it is."""

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
from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import study
from analysis.runs.naming import GOLD_SDS
from analysis.statistics.claims import Claim, Thresholds, by_equivalence, by_estimate, thresholds
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
    bonus: str  # what it is paid for


TASTES = {  # option of the labeler ->
    "confident": Taste(SURE, "sure minus unsure answers", "share of answers", "for a sure tone"),
    "length": Taste(TOKENS, "length of an answer", "tokens", "a token"),
}


def make(runs: Sequence[Run]) -> FigureResult:
    """What each labeler likes, and gold, over his bonus."""
    own = [
        run for run in runs if run.method == "BestOfN" and any(dose(run, one) is not None for one in TASTES)
    ]
    if not own:
        raise MissingRuns("no best-of-n run against the reward model of such a labeler is made")
    read = study(own)
    arms = answer_shares.measure_arms(read, of_run)
    made = {run.choices["labeler"] for run in own}
    found = {labeler: dosed(arms, labeler) for labeler in TASTES if labeler in made}
    if not found:
        raise MissingRuns(f"only runs of gold's own labels are made, none of {' or '.join(TASTES)}")
    table = pd.DataFrame([row for labeler, one in found.items() for row in _rows(labeler, one)])
    told = claims(found, thresholds(NAME))
    return FigureResult(table, _fits(found), told, draw(table), checks.kl_bound_notes(read))


def of_run(run: Run, curves: Curves) -> dict[Key, Shares]:
    """Sure minus unsure answers, tokens, and gold less SFT's in SDs of SFT's."""
    answers = scored_answers(run, curves.points, ("gold", "tokens", "behaviour.sure", "behaviour.unsure"))
    gold = answers.number("gold")
    risen = answers.means(gold)
    values = {
        SURE: answers.means(answers.number("behaviour.sure") - answers.number("behaviour.unsure")),
        TOKENS: answers.means(answers.number("tokens")),
        GOLD: (risen - risen[:, :1]) / gold[answers.sft].std(),
    }
    every = answers.prompt >= 0
    return {key: prompt_shares(answers, curves.questions, every, of) for key, of in values.items()}


def rise(one: Doses, key: Key) -> Estimate:
    """By least squares over doses: what the largest dose has more than dose 0."""
    slope, reach = one.slope(*key), float(one.doses.max())
    return slope._replace(value=slope.value * reach, se=slope.se * reach)


def claims(found: Mapping[str, Doses], limits: Thresholds) -> list[Claim]:
    """What is liked grows with the bonus and costs gold; gold's own labels leave it as it was."""
    made = []
    for labeler, one in found.items():
        liked, words, unit, _ = TASTES[labeler]
        about, n = {"subject": labeler}, one.plain.questions(*liked)
        reach = f"from bonus 0 to {one.doses.max():g}"
        cost = rise(one, GOLD)
        made += [
            by_estimate(
                f"{words} over the upper half of d: more {reach}",
                rise(one, liked),
                limits[f"{liked[0]}_grows"],
                n,
                **about | {"unit": unit, "topic": "grows with the bonus"},
            ),
            by_estimate(
                f"gold over the upper half of d: less {reach}",
                cost._replace(value=-cost.value),
                limits["gold_falls"],
                n,
                **about | {"unit": GOLD_SDS, "topic": "costs gold"},
            ),
        ]
        rule = limits[f"{liked[0]}_flat"]
        made.append(
            by_equivalence(
                f"dose 0: {words} over the upper half of d is SFT's",
                drift(one.plain, *liked),
                -rule["margin"],
                rule["margin"],
                n,
                enough=len(one.plain.arm.seeds) >= rule["replicates"],
                **about | {"unit": unit, "topic": "flat at dose 0"},
            )
        )
    return made


# --- tables -------------------------------------------------------------------------------------------------


def _rows(labeler: str, one: Doses) -> Iterator[dict[str, Any]]:
    for of, arm in zip(one.doses.tolist(), one.arms, strict=True):
        for key in (TASTES[labeler].liked, GOLD):
            late = Estimate.of(arm.late(*key).T)
            yield (
                {"labeler": labeler, "dose": of, "number": key[0], "sft": arm.at(0, *key).value}
                | late.row("value")
                | {"questions": arm.questions(*key), "replicates": late.replicates}
            )


def _fits(found: Mapping[str, Doses]) -> pd.DataFrame:
    rows = []
    for labeler, one in found.items():
        for key in (TASTES[labeler].liked, GOLD):
            arm, n = one.plain.arm, one.plain.questions(*key)
            for parameter, of in (
                (f"slope of {key[0]} on the dose", one.slope(*key)),
                (f"{key[0]} at dose 0 minus SFT's", drift(one.plain, *key)),
            ):
                rows.append(answer_shares.fit_row(arm, labeler, parameter, of, n))
    return pd.DataFrame(rows)


# --- ink ----------------------------------------------------------------------------------------------------


def draw(table: pd.DataFrame) -> Figure:
    """Two panels a labeler: what he likes and gold over his bonus, with a line through them, and SFT's."""
    labelers = list(dict.fromkeys(table["labeler"]))
    figure = theme.blank(theme.WIDTH, 2.6)
    axes = figure.subplots(1, 2 * len(labelers), squeeze=False)[0]
    for place, labeler in enumerate(labelers):
        own, taste = table[table["labeler"] == labeler], TASTES[labeler]
        named = {taste.liked[0]: (taste.words, taste.unit), "gold": ("gold", "SDs above SFT")}
        for panel, (number, (words, unit)) in zip(axes[2 * place :], named.items(), strict=False):
            _panel(panel, own[own["number"] == number], "0.2" if number == "gold" else theme.ORANGE)
            panel.set_title(words)
            panel.set_ylabel(unit)
            panel.set_xlabel(f"bonus (gold units\n{taste.bonus})")
    handles = [
        theme.key("best-of-n over the upper half of d, 95 % interval", "0.4", marker="o"),
        theme.key("SFT", theme.GREY, linestyle=theme.DASHED, linewidth=1),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _panel(panel: Axes, rows: pd.DataFrame, colour: str) -> None:
    panel.axhline(rows["sft"].mean(), color=theme.GREY, linestyle=theme.DASHED, linewidth=1)
    panel.vlines(rows["dose"], rows["lo"], rows["hi"], color=colour, linewidth=1.2)
    panel.plot(rows["dose"], rows["value"], "o-", color=colour, markersize=4, linewidth=0.9)
    panel.margins(x=0.1, y=0.15)
