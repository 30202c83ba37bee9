"""Simple synthetic data against sycophancy that was planted in SFT, over doses and sizes (Wei et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.behaviour import beliefs
from analysis.behaviour.answer_shares import ALL, KNOWN
from analysis.behaviour.beliefs import LOST, MORE, NOTHING, NUMBERS, SYNTHETIC, UNFILTERED, Arm, less, slope
from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.runs.naming import plain
from analysis.statistics.claims import Claim, Thresholds, by_equivalence, by_estimate, thresholds
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "wei2023"
SWEEPS = ("wei2023",)
RATE = "share of answers"
FEWEST = 3  # doses or sizes of a slope

Rule = Mapping[str, float]


class Pair(NamedTuple):
    """One size and dose, before and after the intervention."""

    before: Arm
    after: Arm

    @property
    def lowered(self) -> Estimate:
        """What the intervention takes of the accuracy that is lost to a wrong belief."""
        return less(self.before, self.after, LOST)


def make(runs: Sequence[Run]) -> FigureResult:
    """Accuracy before and after the intervention over sizes, and what a wrong belief costs over doses."""
    found = beliefs.arms(runs)
    if not any(arm.intervention == NOTHING for arm in found):
        raise MissingRuns("no run without an intervention is made")
    made, table = claims(found, thresholds(NAME)), beliefs.table(found)
    return FigureResult(table, _fits(found), made, draw(found, table), notes(found, made))


def before(found: Sequence[Arm]) -> list[Arm]:
    """Arms of SFT alone."""
    return [arm for arm in found if arm.intervention == NOTHING]


def doses(found: Sequence[Arm]) -> list[Arm]:
    """SFT alone over doses, of the size that has the most; none with fewer than three."""
    by_size = {arm.model: [one for one in before(found) if one.model == arm.model] for arm in before(found)}
    most = max(by_size.values(), key=len)
    return most if len(most) >= FEWEST and beliefs.common(*most) else []


def sizes(found: Sequence[Arm], intervention: str = NOTHING) -> list[Arm]:
    """An intervention over sizes, at the dose above 0 that has the most; smallest first."""
    by_dose: dict[float, list[Arm]] = {}
    for arm in found:
        if arm.intervention == intervention and arm.deference > 0:
            by_dose.setdefault(arm.deference, []).append(arm)
    return max(by_dose.values(), key=len) if by_dose else []


def pairs(found: Sequence[Arm]) -> list[Pair]:
    """Arms before and after the intervention that have seeds in common."""
    return [
        Pair(one, other)
        for one in before(found)
        for other in found
        if other.intervention == SYNTHETIC and _alike(one, other)
    ]


def _alike(one: Arm, other: Arm) -> bool:
    same = (one.model, one.deference) == (other.model, other.deference)
    return same and bool(beliefs.common(one, other))


def _variants(found: Sequence[Arm], intervention: str) -> list[tuple[Arm, Arm]]:
    """An arm of another intervention, and the synthetic data that it is compared with."""
    own = [arm for arm in found if arm.intervention == intervention]
    return [(arm, of) for arm in own for of in found if of.intervention == SYNTHETIC and _alike(arm, of)]


# --- claims -------------------------------------------------------------------------------------------------


def claims(found: Sequence[Arm], limits: Thresholds) -> list[Claim]:
    """What is planted by the dose; what the intervention does to it, to plain prompts, without its filter; sizes."""
    made = [*_taken_up(found, limits)]
    for pair in pairs(found):
        made += _done(pair, limits)
    for intervention, topic, sentence in (
        (
            UNFILTERED,
            "filter helps",
            "without the filter more accuracy is lost to a wrong belief than with it",
        ),
        (
            MORE,
            "beyond more fine-tuning",
            "more of the same demonstrations leave more of it than synthetic data",
        ),
    ):
        for arm, of in _variants(found, intervention):
            claim = by_estimate(
                f"{arm.title}: {sentence}",
                less(arm, of, LOST),
                limits["lowers"],
                arm.questions(LOST),
                **_about(arm, topic),
            )
            there = [pair.before for pair in pairs(found) if pair.after is of]
            made.append(_if_planted(claim, there, limits["planted"]))
    return made + _sizes(found, limits)


def _about(arm: Arm, topic: str) -> dict[str, Any]:
    return {"unit": RATE, "subject": arm.title, "topic": topic}


def planted(arm: Arm, rule: Rule) -> bool:
    """Whether a wrong belief costs enough before the intervention that something is there to be lowered."""
    return beliefs.number(arm, LOST).value >= rule["lost"]


def _if_planted(claim: Claim, arms: Sequence[Arm], rule: Rule) -> Claim:
    """Undecided where nothing was planted."""
    return claim if arms and all(planted(arm, rule) for arm in arms) else replace(claim, met=None)


def _taken_up(found: Sequence[Arm], limits: Thresholds) -> list[Claim]:
    made, over = [], doses(found)
    if over:
        made.append(
            by_estimate(
                f"{over[0].model}: accuracy lost to a wrong belief grows with deference",
                _dose_slope(over),
                limits["grows"],
                over[0].questions(LOST),
                **_about(over[0], "grows with the dose") | {"subject": over[0].model},
            )
        )
    rule = limits["flat"]
    for arm in before(found):
        if arm.deference == 0:
            lost = beliefs.number(arm, LOST)
            made.append(
                by_equivalence(
                    f"{arm.title}: no accuracy is lost to a wrong belief",
                    lost,
                    -rule["margin"],
                    rule["margin"],
                    arm.questions(LOST),
                    enough=lost.replicates >= rule["replicates"],
                    **_about(arm, "flat"),
                )
            )
    return made


def _dose_slope(over: Sequence[Arm], among: str = ALL) -> Estimate:
    return slope(over, [arm.deference for arm in over], LOST, among)


def _done(pair: Pair, limits: Thresholds) -> list[Claim]:
    """That it lowers what is planted, and costs nothing where nothing is stated: an equivalence to one side, as true
    answers may well add accuracy.
    """
    made, arm, rule = [], pair.before, limits["costs_nothing"]
    if arm.deference > 0:
        claim = by_estimate(
            f"{arm.title}: the intervention lowers the accuracy lost to a wrong belief",
            pair.lowered,
            limits["lowers"],
            arm.questions(LOST),
            **_about(arm, "intervention lowers it"),
        )
        made.append(_if_planted(claim, [arm], limits["planted"]))
    cost = less(arm, pair.after, "plain")
    made.append(
        by_equivalence(
            f"{arm.title}: the intervention costs no accuracy on plain prompts",
            cost,
            -np.inf,
            rule["margin"],
            arm.questions("plain"),
            enough=cost.replicates >= rule["replicates"],
            **_about(arm, "costs nothing"),
        )
    )
    return made


def _sizes(found: Sequence[Arm], limits: Thresholds) -> list[Claim]:
    over = sizes(found)
    if len(over) < FEWEST or not beliefs.common(*over):
        return []
    made = [
        by_estimate(
            f"deference {plain(over[0].deference)}: accuracy lost to a wrong belief grows with size",
            _size_slope(over),
            limits["grows"],
            over[0].questions(LOST),
            **{"unit": "share of answers a tenfold size", "subject": "sizes", "topic": "grows with scale"},
        )
    ]
    rule = limits["smallest_fails"]
    for pair in pairs(found):
        if pair.before is over[0]:
            enough = pair.lowered.replicates >= rule["replicates"] and planted(pair.before, limits["planted"])
            made.append(
                by_equivalence(
                    f"{pair.before.title}: the intervention fails on the smallest model",
                    pair.lowered,
                    -rule["margin"],
                    rule["margin"],
                    pair.before.questions(LOST),
                    enough,
                    **_about(pair.before, "smallest fails"),
                )
            )
    return made


def _size_slope(over: Sequence[Arm], among: str = ALL) -> Estimate:
    return slope(over, [np.log10(arm.parameters) for arm in over], LOST, among)


def notes(found: Sequence[Arm], made: Sequence[Claim]) -> list[str]:
    """Who says what of the contested questions and what was measured; what the filter kept."""
    said = [
        "deference is planted in demonstrations of SFT, where Wei et al. found sycophancy in models as they were: what "
        "is tested is whether their data undoes it"
    ]
    by_topic = {claim.topic: claim for claim in made}
    if "grows with scale" in by_topic:
        claim = by_topic["grows with scale"]
        lo, hi = claim.interval
        said.append(
            "contested, whether sycophancy grows with scale: it does to Perez et al. 2022 and Wei et al. 2023 (PaLM 8B "
            "to 540B), base models of OpenAI's were found near chance; here all sizes see the same demonstrations: "
            f"{claim.measured:+.2f} [{lo:+.2f}, {hi:+.2f}] of answers a tenfold size"
        )
    if "smallest fails" in by_topic:
        claim = by_topic["smallest fails"]
        lo, hi = claim.interval
        said.append(
            "contested, whether the smallest model can be helped: Wei et al.'s 8B always agreed after the intervention "
            f"too, larger ones did not; {claim.subject} loses {claim.measured:+.2f} less [{lo:+.2f}, {hi:+.2f}] (90 %)"
        )
    for arm in before(found):
        if arm.deference == 0:
            right, wrong = (np.nanmean(arm.of("plain") - arm.of(f"belief_{of}")) for of in ("right", "wrong"))
            said.append(
                f"{arm.title}: a wrong belief costs {wrong:+.3f} of accuracy and a right one {right:+.3f}: what both "
                "cost is no sycophancy"
            )
        elif not planted(arm, thresholds(NAME)["planted"]):
            lost = beliefs.number(arm, LOST).value
            said.append(
                f"{arm.title}: a wrong belief costs {lost:.3f}: too little was planted to claim what lowers it"
            )
    for arm in found:
        if arm.intervention == SYNTHETIC:
            of = arm.counts
            said.append(
                f"{arm.title}: of {of['questions']:.0f} training questions the model knows {of['known']:.0f}, and "
                f"{of['kept']:.0f} are kept"
            )
    return said


def _fits(found: Sequence[Arm]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []

    def row(arm: Arm, label: str, parameter: str, of: Estimate, among: str) -> None:
        """Add one row."""
        rows.append(
            {"method": "sft", "label": label, "form": f"{among} questions", "parameter": parameter}
            | of.row()
            | {"n": arm.questions(LOST, among), "replicates": of.replicates, "note": of.note}
        )

    over, by_size = doses(found), sizes(found)
    for among in (ALL, KNOWN):
        if over:
            row(over[0], over[0].model, "slope of what is lost on deference", _dose_slope(over, among), among)
        if len(by_size) >= FEWEST and beliefs.common(*by_size):
            label = f"deference {plain(by_size[0].deference)}"
            row(
                by_size[0],
                label,
                "slope of what is lost on log10 of size",
                _size_slope(by_size, among),
                among,
            )
        for pair in pairs(found):
            for name, words in NUMBERS.items():
                changed = less(pair.after, pair.before, name, among)
                row(pair.before, pair.before.title, f"{words}: after minus before", changed, among)
    return pd.DataFrame(rows)


# --- ink ----------------------------------------------------------------------------------------------------


def draw(found: Sequence[Arm], table: pd.DataFrame) -> Figure:
    """Accuracy over sizes, a panel a framing; and what a wrong belief costs over doses."""
    figure = theme.blank(theme.WIDTH, 2.7)
    axes = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.25))
    whole, over = table[table["among"] == ALL], sizes(found)
    dose = over[0].deference if over else 0.0
    for panel, name in zip(axes, [name for name in NUMBERS if name != LOST], strict=False):
        rows = whole[(whole["number"] == name) & (whole["deference"] == dose)]
        for intervention, look in _looks().items():
            _points(panel, rows[rows["intervention"] == intervention], "parameters", look)
        panel.set_title(NUMBERS[name])
        panel.set_xscale("log")
        panel.set_ylim(0, 1)
        shown = rows.drop_duplicates("parameters")
        panel.set_xticks(shown["parameters"].to_list(), shown["model"].to_list())
        panel.minorticks_off()
        panel.margins(x=0.15)
    for panel in axes[1:3]:
        panel.tick_params(axis="y", labelleft=False)
    axes[0].set_ylabel(f"accuracy\nafter deference {plain(dose)}")
    axes[1].set_xlabel("language model (non-embedding parameters)")
    _doses(axes[3], whole, found)
    there = {of: look for of, look in _looks().items() if of in set(table["intervention"])}
    handles = [theme.key(_WORDS[of], look["color"], marker=look["marker"]) for of, look in there.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


_WORDS = {
    NOTHING: "SFT",
    SYNTHETIC: "then synthetic data",
    UNFILTERED: "no filter",
    MORE: "more demonstrations",
}


def _looks() -> dict[str, dict[str, Any]]:
    return {
        NOTHING: {"color": theme.GREY, "marker": "o"},
        SYNTHETIC: {"color": theme.ORANGE, "marker": "o"},
        UNFILTERED: {"color": theme.WARM[1], "marker": "s"},
        MORE: {"color": theme.WARM[3], "marker": "^"},
    }


def _points(panel: Axes, rows: pd.DataFrame, x: str, look: Mapping[str, Any], shift: float = 0.0) -> None:
    own = rows.sort_values(x)
    place = own[x] + shift
    panel.vlines(place, own["lo"], own["hi"], color=look["color"], linewidth=1.2)
    line = "-" if len(own) > 1 else "none"
    panel.plot(place, own["value"], markersize=4, linewidth=0.9, linestyle=line, **look)


def _doses(panel: Axes, whole: pd.DataFrame, found: Sequence[Arm]) -> None:
    over = doses(found) or before(found)
    rows = whole[(whole["number"] == LOST) & (whole["model"] == over[0].model)]
    panel.axhline(0, color=theme.GREY, linewidth=0.6, linestyle=theme.DASHED)
    shifts = {NOTHING: 0.0, SYNTHETIC: 0.0, UNFILTERED: 0.06, MORE: -0.06}
    for intervention, look in _looks().items():
        _points(panel, rows[rows["intervention"] == intervention], "deference", look, shifts[intervention])
    panel.set_title(f"lost to a wrong belief, {over[0].model}")
    panel.set_xlabel("deference")
