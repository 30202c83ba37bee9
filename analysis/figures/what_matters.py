"""What each knob of a reward model buys: effects on peak gold, KL at the peak, gold lost, under each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.drawing import effects_ink
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
from analysis.statistics.claims import Claim, Thresholds, thresholds
from analysis.statistics.factorial import Effect, agreement, effects, error
from rlhf_lab.store.records import Run

NAME = "what_matters"
SWEEPS = ("what_matters",)

SIDES = {  # what a claim says of the second level, when it is met, when not
    1: ("more", "above", "under"),
    -1: ("less", "below", "above -"),
    0: ("another", "without", "inside -+"),
}
PANELS = {PEAK: "peak gold", PEAK_D: "√KL at the peak", DROP: "gold lost after it", END: "gold at the end"}


class Found(NamedTuple):
    """The effects of one method's factors."""

    design: Design
    measured: Measured
    effects: Mapping[str, Sequence[Effect]]  # of each measure, in the order of factors

    def of(self, measure: str) -> list[tuple[Factor, Effect]]:
        """Factors with their effects."""
        return list(zip(self.design.factors, self.effects[measure], strict=True))


def make(runs: Sequence[Run]) -> FigureResult:
    """Effects of all factors of any sweep that is a two-level design under each of its methods."""
    of_methods = designs(runs)
    read_ = read(of_methods)
    found = [estimated(design, measured(design, read_.arms)) for design in of_methods]
    limits = thresholds(NAME)
    table = effects_table(found)
    figure = effects_ink.draw(table, PANELS, limits["decision"]["margin"])
    notes = [*(note for one in found for note in _notes(one)), *checks.kl_bound_notes(read_)]
    return FigureResult(table, fits_table(found), claims(found, limits), figure, notes)


def estimated(design: Design, of: Measured) -> Found:
    """The effects of a design's factors on every measure."""
    return Found(
        design, of, {name: effects(of.values[name], design.signs, design.signs) for name in MEASURES}
    )


# --- claims -------------------------------------------------------------------------------------------------


def claims(found: Sequence[Found], limits: Thresholds) -> list[Claim]:
    """Of each knob that the literature names, on peak gold and on gold lost, under each method: one family.

    None of another sweep's factors: their levels may be others, and no side was named before its runs.
    """
    asked = [
        (one, factor, effect, measure)
        for one in found
        for measure in (PEAK, DROP)
        for factor, effect in one.of(measure)
        if factor.name in limits[measure] and one.design.runs[0][0].sweep == NAME
    ]
    alpha = limits["decision"]["alpha"] / max(len(asked), 1)
    return [_claim(*of, limits, alpha) for of in asked]


def _claim(
    one: Found, factor: Factor, effect: Effect, measure: str, limits: Thresholds, alpha: float
) -> Claim:
    rule, side = limits["decision"], int(limits[measure][factor.name])
    replicates, margin = len(one.design.runs[0]), rule["margin"]
    verb, where, short = SIDES[side]
    subject = f"{title(one.design.method)}, {factor.words}"
    return Claim(
        claim=f"{subject}: {verb} {MEASURES[measure]}",
        measured=effect.value,
        interval=effect.interval(1 - alpha),
        threshold=0.0,
        n=one.measured.censored.size,
        replicates=replicates,
        met=decided(effect, side, alpha, margin) if replicates >= rule["replicates"] else None,
        rule=f"met: interval {where} 0 (it is at 1 - {alpha:.2g}: Bonferroni over all claims); not met: 95 % interval "
        f"{short} {margin:g}; else, and under {rule['replicates']:g} replicates, undecided",
        unit=GOLD_SDS,
        subject=subject,
        topic=PANELS[measure],
    )


def decided(effect: Effect, side: int, alpha: float, margin: float) -> bool | None:
    """Met if the interval at 1 - alpha excludes 0 on a side (0: either), not met if that at 95 % ends before the margin
    there.
    """
    lo, hi = effect.interval(1 - alpha)
    if (lo > 0 and side >= 0) or (hi < 0 and side <= 0):
        return True
    lo, hi = effect.interval()
    short = (hi < margin or side < 0) and (lo > -margin or side > 0)
    return False if short else None


# --- tables -------------------------------------------------------------------------------------------------


def effects_table(found: Sequence[Found]) -> pd.DataFrame:
    """One row per method, measure and factor, factors with the largest effect on peak gold or its loss first."""
    rows = [
        _row(one, measure, place, factor, effect)
        for one in found
        for measure in MEASURES
        for place, (factor, effect) in enumerate(one.of(measure))
    ]
    table = pd.DataFrame(rows)
    size = table[table["measure"].isin([PEAK, DROP])].groupby("knob")["effect"].agg(lambda of: of.abs().max())
    return table.sort_values("knob", key=lambda knob: -knob.map(size), kind="stable", ignore_index=True)


def _row(one: Found, measure: str, place: int, factor: Factor, effect: Effect) -> dict[str, Any]:
    first = one.design.signs[:, place] < 0
    of, lost = one.measured.values[measure], one.measured.censored
    lo, hi = effect.interval()
    return {
        **{"method": one.design.method, "knob": factor.words, "setting": factor.name, "measure": measure},
        **{"effect": effect.value, "lo": lo, "hi": hi, "p": effect.p, "se": effect.se, "df": effect.df},
        **{
            "se_questions": effect.of_questions,
            "mean_first": of[first].mean(),
            "mean_second": of[~first].mean(),
        },
        **{"censored_first": int(lost[first].sum()), "censored_second": int(lost[~first].sum())},
        **{"n": lost.size, "replicates": lost.shape[1], "questions": one.measured.questions},
    }


def fits_table(found: Sequence[Found]) -> pd.DataFrame:
    """The SD of a run and the effects of sets of products of two factors, which are exploratory."""
    rows: list[dict[str, Any]] = []
    for one in found:
        for measure, of in one.measured.values.items():
            about = {"method": one.design.method, "measure": measure, "n": one.measured.censored.size}
            about |= {"replicates": of.shape[1]}
            variance, df = error(of.mean(axis=2), one.design.signs)
            rows.append(
                about | {"form": "error", "parameter": "SD of a run", "estimate": np.sqrt(variance), "df": df}
            )
            for product in interactions(one.design, of):
                lo, hi = product.effect.interval()
                effect = {"estimate": product.effect.value, "lo": lo, "hi": hi, "p": product.effect.p}
                named = {"form": "exploratory", "parameter": _pairs(product.pairs), "df": product.effect.df}
                rows.append(about | named | effect)
    columns = ["method", "measure", "form", "parameter", "estimate", "lo", "hi", "p", "df", "n", "replicates"]
    return pd.DataFrame(rows).reindex(columns=columns)


def _pairs(pairs: Sequence[tuple[Factor, Factor]]) -> str:
    return " = ".join(f"{one.name} x {other.name}" for one, other in pairs)


# --- notes --------------------------------------------------------------------------------------------------


def _notes(one: Found) -> list[str]:
    design, of = one.design, one.measured
    cells, replicates = of.censored.shape
    name = title(design.method)
    notes = [
        f"{name}: {cells} cells, {replicates} replicate{'s' * (replicates > 1)}"
        + (f", {design.left_out} left out as not all their runs are made" if design.left_out else "")
        + f"; the peak is at its KL or later in {of.censored.sum()} of {of.censored.size} runs, taken at its KL"
    ]
    if replicates == 1:
        return [
            *notes,
            f"{name}: one replicate: intervals take what main effects leave of the cells as error",
        ]
    shares = [
        np.mean([(effect.of_questions / effect.se) ** 2 for effect in one.effects[measure]])
        for measure in (PEAK, DROP)
    ]
    agreed = {PANELS[measure]: agreement(of.values[measure], design.signs) for measure in (PEAK, DROP)}
    notes.append(
        f"{name}: questions are {100 * shares[0]:.0f} % of the variance of an effect on peak gold and "
        f"{100 * shares[1]:.0f} % of one on gold lost; effects over replicates against "
        "other contrasts over replicates: "
        + "; ".join(f"{words} F = {found.ratio:.2f} (p = {found.p:.2g})" for words, found in agreed.items())
    )
    return [*notes, *_largest(one, PEAK), *_largest(one, DROP)]


def _largest(one: Found, measure: str) -> list[str]:
    found = interactions(one.design, one.measured.values[measure])
    if not found:
        return []
    lo, hi = found[0].effect.interval()
    return [
        f"{title(one.design.method)}, {PANELS[measure]}, exploratory: the largest of {len(found)} sets of products is "
        f"{_pairs(found[0].pairs)}: {found[0].effect.value:+.2f} [{lo:+.2f}, {hi:+.2f}]; the design does not tell its "
        "members apart"
    ]
