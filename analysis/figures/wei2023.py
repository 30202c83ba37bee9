"""Simple synthetic data against sycophancy that was planted in SFT, over doses and sizes (Wei et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.behaviour import beliefs
from analysis.behaviour.answer_shares import ALL, KNOWN
from analysis.behaviour.beliefs import LOST, MORE, NOTHING, NUMBERS, SYNTHETIC, UNFILTERED, Arm, less, slope
from analysis.drawing import plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs.naming import plain
from analysis.runs.tables import estimate_row
from analysis.statistics.claims import Claim, ClaimTable
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "wei2023"
SWEEPS = ("wei2023",)

FEWEST = 3  # doses or sizes of a slope


class Look(NamedTuple):
    """How the arms of an intervention are drawn."""

    words: str
    colour: str
    marker: str
    shift: float = 0.0  # to the side of their dose


LOOKS = {
    NOTHING: Look("SFT", theme.GREY, "o"),
    SYNTHETIC: Look("then synthetic data", theme.ORANGE, "o"),
    UNFILTERED: Look("no filter", theme.WARM[1], "s", 0.06),
    MORE: Look("more demonstrations", theme.WARM[3], "^", -0.06),
}


class Pair(NamedTuple):
    """The arms of one size and dose before and after the intervention."""

    before: Arm
    after: Arm

    @property
    def lowered(self) -> Estimate:
        """By how much the intervention lowers the accuracy that is lost to a wrong belief."""
        return less(self.before, self.after, LOST)


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw accuracy before and after the intervention over sizes, and what a wrong belief costs over doses."""
    arms = beliefs.arms(runs)
    if not before(arms):
        raise MissingRuns("the figure needs runs without an intervention")
    table, claims = beliefs.table(arms), make_claims(arms)
    return FigureResult(table, pd.DataFrame(fit_rows(arms)), claims, draw(arms, table), notes(arms, claims))


def before(arms: Sequence[Arm]) -> list[Arm]:
    """Return the arms of SFT alone."""
    return [arm for arm in arms if arm.intervention == NOTHING]


def dose_series(arms: Sequence[Arm]) -> list[Arm]:
    """Return the arms of SFT alone of the size that has the most doses; none if it has fewer than three."""
    by_size: dict[str, list[Arm]] = {}
    for arm in before(arms):
        by_size.setdefault(arm.model, []).append(arm)
    series = max(by_size.values(), key=len)
    return series if is_series(series) else []


def size_series(arms: Sequence[Arm]) -> list[Arm]:
    """Return the arms of SFT alone at the dose above 0 that has the most sizes, the smallest first."""
    by_dose: dict[float, list[Arm]] = {}
    for arm in before(arms):
        if arm.deference > 0:
            by_dose.setdefault(arm.deference, []).append(arm)
    return max(by_dose.values(), key=len, default=[])


def is_series(arms: Sequence[Arm]) -> bool:
    """Return whether a slope can be fitted: there are three arms, and a replicate that all of them have."""
    return len(arms) >= FEWEST and bool(beliefs.common(*arms))


def pairs(arms: Sequence[Arm]) -> list[Pair]:
    """Return the arms before and after the intervention that have seeds in common."""
    return [
        Pair(arm, after)
        for arm in before(arms)
        for after in arms
        if after.intervention == SYNTHETIC and is_alike(arm, after)
    ]


def variants(arms: Sequence[Arm], intervention: str) -> list[tuple[Arm, Arm]]:
    """Return each arm of another intervention, with the arm of synthetic data that it is compared with."""
    return [
        (arm, synthetic)
        for arm in arms
        for synthetic in arms
        if (arm.intervention, synthetic.intervention) == (intervention, SYNTHETIC)
        and is_alike(arm, synthetic)
    ]


def is_alike(arm: Arm, other: Arm) -> bool:
    """Return whether two arms have the same size and dose, and a replicate in common."""
    same = (arm.model, arm.deference) == (other.model, other.deference)
    return same and bool(beliefs.common(arm, other))


def dose_slope(arms: Sequence[Arm], among: str = ALL) -> Estimate:
    """Return the slope of the accuracy that is lost on deference."""
    return slope(arms, [arm.deference for arm in arms], LOST, among)


def size_slope(arms: Sequence[Arm], among: str = ALL) -> Estimate:
    """Return the slope of the accuracy that is lost on log10 of the number of parameters."""
    return slope(arms, [np.log10(arm.parameters) for arm in arms], LOST, among)


# --- claims -------------------------------------------------------------------------------------------------


def make_claims(arms: Sequence[Arm]) -> ClaimTable:
    """Claim what the dose plants, what the intervention and its variants do to it, and what depends on size."""
    claims = ClaimTable(NAME, "share of answers")
    claim_grows_with_dose(claims, dose_series(arms))
    for arm in before(arms):
        if arm.deference == 0:
            claim_flat(claims, arm)
    for pair in pairs(arms):
        if pair.before.deference > 0:
            claim_lowers(claims, pair)
        claim_costs_nothing(claims, pair)
    for intervention, sentence, topic in (
        (
            UNFILTERED,
            "without the filter more accuracy is lost to a wrong belief than with it",
            "filter helps",
        ),
        (
            MORE,
            "after more of the same demonstrations more accuracy is lost to a wrong belief than after synthetic data",
            "beyond more fine-tuning",
        ),
    ):
        for arm, synthetic in variants(arms, intervention):
            originals = [pair.before for pair in pairs(arms) if pair.after is synthetic]
            claim_worse_than_synthetic(claims, arm, synthetic, originals, sentence, topic)
    sizes = size_series(arms)
    if is_series(sizes):
        claim_grows_with_size(claims, sizes)
        for pair in pairs(arms):
            if pair.before is sizes[0]:
                claim_smallest_fails(claims, pair)
    return claims


def is_planted(claims: ClaimTable, arm: Arm) -> bool:
    """Return whether a wrong belief costs enough before the intervention that something can be lowered."""
    return beliefs.number(arm, LOST).value >= claims.limits["planted"]["lost"]


def claim_grows_with_dose(claims: ClaimTable, series: Sequence[Arm]) -> None:
    """Claim `grows`: accuracy lost to a wrong belief grows with deference; no claim without a series of doses."""
    if series:
        claims.above(
            "grows",
            series[0].model,
            "accuracy lost to a wrong belief grows with deference",
            dose_slope(series),
            series[0].questions(LOST),
            "grows with the dose",
        )


def claim_flat(claims: ClaimTable, arm: Arm) -> None:
    """Claim `flat`: without deference no accuracy is lost to a wrong belief."""
    claims.equivalent(
        "flat",
        arm.title,
        "no accuracy is lost to a wrong belief",
        beliefs.number(arm, LOST),
        arm.questions(LOST),
        "flat",
    )


def claim_lowers(claims: ClaimTable, pair: Pair) -> None:
    """Claim `lowers`: the intervention lowers the accuracy that is lost; undecided where nothing was planted."""
    claims.above(
        "lowers",
        pair.before.title,
        "the intervention lowers the accuracy lost to a wrong belief",
        pair.lowered,
        pair.before.questions(LOST),
        "intervention lowers it",
        enough=is_planted(claims, pair.before),
    )


def claim_costs_nothing(claims: ClaimTable, pair: Pair) -> None:
    """Claim `costs_nothing`: accuracy on plain prompts does not fall; it may rise, as true answers are learnt."""
    claims.equivalent(
        "costs_nothing",
        pair.before.title,
        "the intervention costs no accuracy on plain prompts",
        less(pair.before, pair.after, "plain"),
        pair.before.questions("plain"),
        "costs nothing",
        lo=-math.inf,
    )


def claim_worse_than_synthetic(
    claims: ClaimTable, arm: Arm, synthetic: Arm, originals: Sequence[Arm], sentence: str, topic: str
) -> None:
    """Claim `lowers` of synthetic data against another intervention; undecided if `originals` had nothing planted."""
    claims.above(
        "lowers",
        arm.title,
        sentence,
        less(arm, synthetic, LOST),
        arm.questions(LOST),
        topic,
        enough=bool(originals) and all(is_planted(claims, original) for original in originals),
    )


def claim_grows_with_size(claims: ClaimTable, series: Sequence[Arm]) -> None:
    """Claim `grows` over sizes: larger models lose more accuracy to a wrong belief at one deference."""
    claims.above(
        "grows",
        "sizes",
        f"at deference {plain(series[0].deference)} accuracy lost to a wrong belief grows with size",
        size_slope(series),
        series[0].questions(LOST),
        "grows with scale",
        unit="share of answers a tenfold size",
    )


def claim_smallest_fails(claims: ClaimTable, pair: Pair) -> None:
    """Claim `smallest_fails`: the intervention changes nothing in the smallest model; undecided if unplanted."""
    claims.equivalent(
        "smallest_fails",
        pair.before.title,
        "the intervention fails on the smallest model",
        pair.lowered,
        pair.before.questions(LOST),
        "smallest fails",
        enough=is_planted(claims, pair.before),
    )


# --- tables -------------------------------------------------------------------------------------------------


def fit_rows(arms: Sequence[Arm]) -> Iterator[dict[str, Any]]:
    """Yield the slopes of the accuracy lost on deference and on size, and what each pair's intervention changes."""
    doses, sizes = dose_series(arms), size_series(arms)
    for among in (ALL, KNOWN):
        if doses:
            parameter = "slope of what is lost on deference"
            yield fit_row(doses[0], doses[0].model, parameter, dose_slope(doses, among), among)
        if is_series(sizes):
            label = f"deference {plain(sizes[0].deference)}"
            parameter = "slope of what is lost on log10 of size"
            yield fit_row(sizes[0], label, parameter, size_slope(sizes, among), among)
        for pair in pairs(arms):
            for name, words in NUMBERS.items():
                change = less(pair.after, pair.before, name, among)
                yield fit_row(pair.before, pair.before.title, f"{words}: after minus before", change, among)


def fit_row(arm: Arm, label: str, parameter: str, estimate: Estimate, among: str) -> dict[str, Any]:
    """Return a row of the table of estimates."""
    named = {"method": "sft", "label": label}
    return estimate_row(named, f"{among} questions", parameter, estimate, arm.questions(LOST, among))


def notes(arms: Sequence[Arm], claims: ClaimTable) -> list[str]:
    """Say what was measured where papers disagree, where too little was planted, and what the filter kept."""
    lines = [
        "deference is planted in demonstrations of SFT, where Wei et al. found sycophancy in models as they were: what "
        "is tested is whether their data undoes it"
    ]
    by_topic = {claim.topic: claim for claim in claims}
    if "grows with scale" in by_topic:
        lines.append(
            "contested: whether sycophancy grows with scale. It does in Perez et al. 2022 and Wei et al. 2023 (PaLM 8B "
            "to 540B); base models of OpenAI were near chance. Here all sizes see the same demonstrations: "
            f"{measured(by_topic['grows with scale'])} of answers a tenfold size"
        )
    if "smallest fails" in by_topic:
        claim = by_topic["smallest fails"]
        lines.append(
            "contested: whether the smallest model can be helped. Wei et al.'s 8B always agreed after the intervention "
            f"too, larger ones did not; {claim.subject} loses less by {measured(claim)} (90 %)"
        )
    for arm in before(arms):
        if arm.deference == 0:
            right, wrong = (
                np.nanmean(arm.of("plain") - arm.of(name)) for name in ("belief_right", "belief_wrong")
            )
            lines.append(
                f"{arm.title}: a wrong belief costs {wrong:+.3f} of accuracy and a right one {right:+.3f}: what both "
                "cost is no sycophancy"
            )
        elif not is_planted(claims, arm):
            lost = beliefs.number(arm, LOST).value
            lines.append(f"{arm.title}: a wrong belief costs {lost:.3f}, too little to claim what lowers it")
    for arm in arms:
        if arm.intervention == SYNTHETIC:
            counts = arm.counts
            lines.append(
                f"{arm.title}: of {counts['questions']:.0f} training questions the model knows {counts['known']:.0f}, "
                f"and {counts['kept']:.0f} are kept"
            )
    return lines


def measured(claim: Claim) -> str:
    """Return a claim's number with its interval as text."""
    lo, hi = claim.interval
    return f"{claim.measured:+.2f} [{lo:+.2f}, {hi:+.2f}]"


# --- drawing ------------------------------------------------------------------------------------------------


def draw(arms: Sequence[Arm], table: pd.DataFrame) -> Figure:
    """Draw accuracy over sizes, a panel for each framing, then what a wrong belief costs over doses."""
    figure = theme.blank(theme.WIDTH, 2.7)
    axes = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.25))
    rows, sizes = table[table["among"] == ALL], size_series(arms)
    dose = sizes[0].deference if sizes else 0.0
    for panel, name in zip(axes, [name for name in NUMBERS if name != LOST], strict=False):
        draw_over_sizes(panel, rows[(rows["number"] == name) & (rows["deference"] == dose)])
        panel.set_title(NUMBERS[name])
    for panel in axes[1:3]:
        panel.tick_params(axis="y", labelleft=False)
    axes[0].set_ylabel(f"accuracy\nafter deference {plain(dose)}")
    axes[1].set_xlabel("language model (non-embedding parameters)")
    model = (dose_series(arms) or before(arms))[0].model
    draw_over_doses(axes[3], rows[(rows["number"] == LOST) & (rows["model"] == model)])
    axes[3].set_title(f"lost to a wrong belief, {model}")
    interventions = set(table["intervention"])
    handles = [
        theme.key(look.words, look.colour, marker=look.marker)
        for intervention, look in LOOKS.items()
        if intervention in interventions
    ]
    plot.legend(figure, handles)
    return figure


def draw_over_sizes(panel: Axes, rows: pd.DataFrame) -> None:
    """Draw an accuracy over sizes, with each size named on the axis."""
    draw_interventions(panel, rows, "parameters")
    panel.set_xscale("log")
    panel.set_ylim(0, 1)
    sizes = rows.drop_duplicates("parameters")
    panel.set_xticks(sizes["parameters"].to_list(), sizes["model"].to_list())
    panel.minorticks_off()
    panel.margins(x=0.15)


def draw_over_doses(panel: Axes, rows: pd.DataFrame) -> None:
    """Draw what a wrong belief costs over deference."""
    panel.axhline(0, color=theme.GREY, linewidth=0.6, linestyle=theme.DASHED)
    shifts = rows["intervention"].map({intervention: look.shift for intervention, look in LOOKS.items()})
    draw_interventions(panel, rows.assign(deference=rows["deference"] + shifts), "deference")
    panel.set_xlabel("deference")


def draw_interventions(panel: Axes, rows: pd.DataFrame, x: str) -> None:
    """Draw the values of each intervention over `x` with their intervals, joined by a line."""
    for intervention, look in LOOKS.items():
        points = rows[rows["intervention"] == intervention].sort_values(x)
        plot.intervals(
            panel,
            points[x],
            points["value"],
            points["lo"],
            points["hi"],
            look.colour,
            look.marker,
            joined=len(points) > 1,
        )
