"""What each knob of a reward model buys: effects on peak gold, KL at the peak, gold lost, under each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.drawing import ablation_panels, plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import title
from analysis.runs.designs import (
    DROP,
    END,
    MEASURES,
    PEAK,
    PEAK_D,
    Design,
    Factor,
    Measured,
    designs,
    interactions,
    measured,
    read,
)
from analysis.runs.naming import GOLD_SDS
from analysis.statistics.claims import ClaimTable
from analysis.statistics.factorial import agreement, effects, error
from rlhf_lab.functional.intervals import Estimate, p_above
from rlhf_lab.store.records import Run

NAME = "what_matters"
SWEEPS = ("what_matters",)

SIDES = {1: "more", -1: "less"}  # what a claim says of the second level
PANELS = {PEAK: "peak gold", PEAK_D: "√KL at the peak", DROP: "gold lost after it", END: "gold at the end"}


class MethodEffects(NamedTuple):
    """The effects of one method's factors."""

    design: Design
    measured: Measured
    effects: Mapping[str, Sequence[Estimate]]  # of each measure, in the order of factors

    def of(self, measure: str) -> list[tuple[Factor, Estimate]]:
        """Return the factors with their effects on a measure."""
        return list(zip(self.design.factors, self.effects[measure], strict=True))


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw the effects of all factors of a sweep that is a two-level design under each of its methods."""
    of_methods = designs(runs)
    data = read(of_methods)
    by_method = [estimated(design, measured(design, data.arms)) for design in of_methods]
    claims = ClaimTable(NAME, GOLD_SDS)
    claim_effects(claims, by_method)
    table = effects_table(by_method)
    figure = draw(table, claims.limits["decision"]["threshold"])
    notes = [*(note for method in by_method for note in notes_of(method)), *checks.run_notes(data)]
    return FigureResult(table, fits_table(by_method), claims, figure, notes)


def estimated(design: Design, measured: Measured) -> MethodEffects:
    """Return the effects of a design's factors on every measure."""
    of_measures = {name: effects(measured.values[name], design.signs, design.signs) for name in MEASURES}
    return MethodEffects(design, measured, of_measures)


# --- claims -------------------------------------------------------------------------------------------------


def claim_effects(claims: ClaimTable, by_method: Sequence[MethodEffects]) -> None:
    """Claim each knob whose effect the literature foretells, on peak gold and on gold lost, under each method.

    Nothing is claimed of another sweep's factors: their levels may be others, and no side was named before its runs.
    """
    for method in by_method:
        for measure in (PEAK, DROP):
            for factor, effect in method.of(measure):
                side = claims.limits[measure].get(factor.name)
                if side and method.design.runs[0][0].sweep == NAME:
                    claim_effect(claims, method, factor, effect.times(side), measure, SIDES[side])


def claim_effect(
    claims: ClaimTable, method: MethodEffects, factor: Factor, effect: Estimate, measure: str, verb: str
) -> None:
    """Claim that the second level of a factor changes a measure to the side that was named before the runs."""
    claims.above(
        "decision",
        f"{title(method.design.method)}, {factor.words}",
        f"the second level has {verb} {MEASURES[measure]}",
        effect,
        method.measured.censored.size,
        PANELS[measure],
    )


# --- tables -------------------------------------------------------------------------------------------------


def effects_table(by_method: Sequence[MethodEffects]) -> pd.DataFrame:
    """Return a row for each method, measure and factor; factors with the largest effect on gold come first."""
    rows = [
        effect_row(method, measure, place)
        for method in by_method
        for measure in MEASURES
        for place in range(len(method.design.factors))
    ]
    table = pd.DataFrame(rows)
    of_gold = table[table["measure"].isin([PEAK, DROP])]
    size = of_gold.groupby("knob")["effect"].agg(lambda effects: effects.abs().max())
    return table.sort_values("knob", key=lambda knob: -knob.map(size), kind="stable", ignore_index=True)


def effect_row(method: MethodEffects, measure: str, place: int) -> dict[str, Any]:
    """Return the effect of one factor on a measure, with what either level reaches."""
    factor, effect = method.of(measure)[place]
    first = method.design.signs[:, place] < 0
    values, censored = method.measured.values[measure], method.measured.censored
    lo, hi = effect.interval()
    return {
        "method": method.design.method,
        "knob": factor.words,
        "setting": factor.name,
        "measure": measure,
        "effect": effect.value,
        "lo": lo,
        "hi": hi,
        "p": two_sided(effect),
        "se": effect.se,
        "df": effect.parts[0].df,
        "se_questions": np.sqrt(effect.parts[1].variance),
        "mean_first": values[first].mean(),
        "mean_second": values[~first].mean(),
        "censored_first": int(censored[first].sum()),
        "censored_second": int(censored[~first].sum()),
        "n": censored.size,
        "replicates": censored.shape[1],
        "questions": method.measured.questions,
    }


def two_sided(effect: Estimate) -> float:
    """Return the two-sided p-value of no effect."""
    p = p_above(effect, 0.0)
    return 2 * min(p, 1 - p)


def fits_table(by_method: Sequence[MethodEffects]) -> pd.DataFrame:
    """Return the SD of a run, and the effects of sets of products of two factors, which are exploratory."""
    rows: list[dict[str, Any]] = []
    for method in by_method:
        for measure, values in method.measured.values.items():
            named = {"method": method.design.method, "measure": measure, "n": method.measured.censored.size}
            named |= {"replicates": values.shape[1]}
            variance, df = error(values.mean(axis=2), method.design.signs)
            sd = {"form": "error", "parameter": "SD of a run", "estimate": np.sqrt(variance), "df": df}
            rows.append(named | sd)
            for product in interactions(method.design, values):
                lo, hi = product.effect.interval()
                effect = {
                    "estimate": product.effect.value,
                    "lo": lo,
                    "hi": hi,
                    "p": two_sided(product.effect),
                }
                form = {
                    "form": "exploratory",
                    "parameter": pairs_in_words(product.pairs),
                    "df": product.effect.parts[0].df,
                }
                rows.append(named | form | effect)
    columns = ["method", "measure", "form", "parameter", "estimate", "lo", "hi", "p", "df", "n", "replicates"]
    return pd.DataFrame(rows).reindex(columns=columns)


def pairs_in_words(pairs: Sequence[tuple[Factor, Factor]]) -> str:
    """Return the products that the design does not tell apart, such as "a x b = c x d"."""
    return " = ".join(f"{first.name} x {second.name}" for first, second in pairs)


# --- notes --------------------------------------------------------------------------------------------------


def notes_of(method: MethodEffects) -> list[str]:
    """Return what a reader must know of one method's design, its error and its interactions."""
    design, measured = method.design, method.measured
    cells, replicates = measured.censored.shape
    name = title(design.method)
    notes = [
        f"{name}: {cells} cells, {replicates} replicate{'s' * (replicates > 1)}"
        + (f", {design.left_out} left out as not all their runs are made" if design.left_out else "")
        + f"; the peak is at its KL or later in {measured.censored.sum()} of {measured.censored.size} runs, taken at "
        "its KL"
    ]
    if replicates == 1:
        alone = f"{name}: one replicate: intervals take what main effects leave of the cells as error"
        return [*notes, alone]
    peak, drop = (
        np.mean([effect.parts[1].variance / effect.se**2 for effect in method.effects[measure]])
        for measure in (PEAK, DROP)
    )
    agreements = [
        (PANELS[measure], agreement(measured.values[measure], design.signs)) for measure in (PEAK, DROP)
    ]
    notes.append(
        f"{name}: questions are {100 * peak:.0f} % of the variance of an effect on peak gold and {100 * drop:.0f} % of "
        "one on gold lost; effects over replicates against other contrasts over replicates: "
        + "; ".join(f"{words} F = {ratio.ratio:.2f} (p = {ratio.p:.2g})" for words, ratio in agreements)
    )
    return [*notes, *largest_interaction(method, PEAK), *largest_interaction(method, DROP)]


def largest_interaction(method: MethodEffects, measure: str) -> list[str]:
    """Return a note of the largest set of products of two factors; nothing where the design has none."""
    found = interactions(method.design, method.measured.values[measure])
    if not found:
        return []
    lo, hi = found[0].effect.interval()
    return [
        f"{title(method.design.method)}, {PANELS[measure]}, exploratory: the largest of {len(found)} sets of products "
        f"is {pairs_in_words(found[0].pairs)}: {found[0].effect.value:+.2f} [{lo:+.2f}, {hi:+.2f}]; the design does "
        "not tell its members apart"
    ]


# --- drawing ------------------------------------------------------------------------------------------------

HUES = ablation_panels.HUES  # of methods, in order
APART = 0.32  # between the rows of two methods of one factor


def draw(table: pd.DataFrame, margin: float) -> Figure:
    """Draw the second minus the first level with its 95 % interval: a row for each factor, a panel for each measure."""
    rows, methods = list(dict.fromkeys(table["knob"])), list(dict.fromkeys(table["method"]))
    figure, axes = theme.panels(len(PANELS), 1.5 + 0.36 * len(rows))
    of_gold = []
    for panel, (measure, words) in zip(axes, PANELS.items(), strict=True):
        if measure != PEAK_D:
            panel.axvspan(-margin, margin, color="0.92", linewidth=0, zorder=0)
            of_gold.append(panel)
        draw_effects(panel, table[table["measure"] == measure], rows, methods)
        panel.set_title(words)
        panel.set_xlabel("nats$^{1/2}$" if measure == PEAK_D else "SDs of gold")
    theme.share_limits(of_gold)
    axes[0].set_yticks(range(len(rows)), rows)
    axes[0].set_ylim(len(rows) - 0.4, -0.6)
    entries = [theme.key(title(method), hue, marker="o") for method, hue in zip(methods, HUES, strict=False)]
    entries.append(theme.key("interval holds 0", marker="o", markerfacecolor="white"))
    plot.legend(figure, entries)
    return figure


def draw_effects(panel: Axes, table: pd.DataFrame, rows: Sequence[str], methods: Sequence[str]) -> None:
    """Draw one measure; a point is white where its interval holds 0."""
    panel.axvline(0, color="0.6", linewidth=0.6, zorder=1)
    for place in range(1, len(rows)):
        panel.axhline(place - 0.5, color="0.93", linewidth=0.5, zorder=0)
    for effect in table.to_dict("records"):
        number = methods.index(effect["method"])
        height = rows.index(effect["knob"]) + APART * (number - (len(methods) - 1) / 2)
        panel.plot([effect["lo"], effect["hi"]], [height, height], color=HUES[number], linewidth=1.6)
        face = "white" if effect["lo"] <= 0 <= effect["hi"] else HUES[number]
        panel.plot(effect["effect"], height, "o", color=HUES[number], markersize=4.5, markerfacecolor=face)
    panel.tick_params(axis="y", length=0)
    panel.spines["left"].set_visible(False)
