"""Before and after optimisation for a labeler who cannot check answers: approval, correctness, FPR (2409.12822)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.behaviour import approval
from analysis.behaviour.approval import Rates, checks_everything, competence
from analysis.drawing import theme
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks
from analysis.runs.arms import Arm, Study, study
from analysis.statistics.claims import Claim, Thresholds, by_equivalence, by_estimate, thresholds
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "wen2024"
SWEEPS = ("ceiling",)

COMPETENCE = 0  # of the labeler that is shown: facts and no sums
SHOWN = {  # rate -> its name
    "approval": "approval",
    "correct": "correct claims",
    "fpr": "approved, of wrong claims (FPR)",
    "fnr": "not approved, of right claims (FNR)",
}
UNIT = "share of answers"


class Pair(NamedTuple):
    """One method against the labels of who cannot check sums, and of who can check everything."""

    limited: Arm
    control: Arm


def make(runs: Sequence[Run]) -> FigureResult:
    """Rates of SFT's answers and of optimised ones, each arm as its own labeler judges."""
    read = study(runs)
    pairs = pairs_of(read)
    if not pairs:
        raise MissingRuns(
            f"no runs of a labeler of competence {COMPETENCE} and of one who can check everything are made"
        )
    arms = [arm for pair in pairs for arm in pair]
    found = {arm.title: approval.rates(arm) for arm in arms}
    limits = thresholds(NAME)
    made = [claim for pair in pairs for claim in claims(pair, found, limits)]
    table, fits = approval.table(arms, found), changes_table(arms, found)
    return FigureResult(
        table, fits, made, draw(pairs, found), [*notes(arms, found), *checks.kl_bound_notes(read)]
    )


def pairs_of(read: Study) -> list[Pair]:
    """Both arms of every method that has them."""
    found = []
    for arms in approval.families(read):
        limited = [arm for arm in arms if competence(arm) == COMPETENCE and not checks_everything(arm)]
        control = [arm for arm in arms if checks_everything(arm)]
        found += [Pair(limited[0], control[0])] if limited and control else []
    return found


# --- claims -------------------------------------------------------------------------------------------------


def claims(pair: Pair, found: Mapping[str, Rates], limits: Thresholds) -> list[Claim]:
    """Of both arms what the paper says of its one, then what is due to the ceiling."""
    return [
        *(claim for arm in pair for claim in of_arm(arm, found[arm.title], limits)),
        *_beyond_checked(pair.limited, found[pair.limited.title], limits),
        *_beyond_control(pair, limits),
    ]


def of_arm(arm: Arm, found: Rates, limits: Thresholds) -> list[Claim]:
    """Approval and FPR rise, correctness stays; of the control the same, which is not to hold."""
    end, rule = ablation.end_of(arm), limits["correctness_stays"]
    stays = by_equivalence(
        f"{arm.title}: claims are right as often at {end} as in SFT's answers",
        Estimate.of(found.rise("correct")),
        -rule["margin"],
        rule["margin"],
        arm.questions,
        enough=len(arm.curves) >= rule["replicates"],
        unit="share of claims",
        subject=arm.title,
        topic="correctness stays",
    )
    risen = [
        by_estimate(
            f"{arm.title}: its labeler {sentence} at {end} than among SFT's answers",
            Estimate.of(found.rise(name)),
            limits[f"{name}_rises"],
            arm.questions,
            unit=unit,
            subject=arm.title,
            topic=f"{called} rises",
        )
        for name, called, unit, sentence in (
            ("approval", "approval", UNIT, "approves of more answers"),
            ("fpr", "FPR", "share of wrong claims", "approves of more of the wrong claims"),
        )
    ]
    return [risen[0], stays, risen[1]]


def _beyond_checked(arm: Arm, found: Rates, limits: Thresholds) -> list[Claim]:
    """The same answers, judged by who can check them: what a wrong claim gains in manners is worth something."""
    return [
        by_estimate(
            f"{arm.title}: FPR rises more than it does to who can check the same answers",
            Estimate.of(found.rise("fpr", less="fpr_checked")),
            limits["fpr_beyond"],
            arm.questions,
            unit="share of wrong claims",
            subject=arm.title,
            topic="FPR beyond who can check",
        )
    ]


def _beyond_control(pair: Pair, limits: Thresholds) -> list[Claim]:
    """The same labeler, of answers that were optimised for somebody who can check them."""
    more = approval.rises_more(*pair, "fpr", competence(pair.limited))
    if more is None:
        return []
    return [
        by_estimate(
            f"{pair.limited.title}: FPR to the same labeler rises more than under {pair.control.label}",
            more,
            limits["fpr_beyond"],
            pair.limited.questions,
            unit="share of wrong claims",
            subject=pair.limited.title,
            topic="FPR beyond the control",
        )
    ]


def changes_table(arms: Sequence[Arm], found: Mapping[str, Rates]) -> pd.DataFrame:
    """Every rate at the end minus that among SFT's answers, with 95 % intervals."""
    return pd.DataFrame(
        [
            approval.row(arm, arm.curves[0].points[-1], Estimate.of(found[arm.title].rise(name)))
            | {
                "parameter": f"{name} at the end minus SFT's",
                "form": "rate",
                "note": f"95 % interval; {UNIT}",
            }
            for arm in arms
            for name in approval.RATES
        ]
    )


def notes(arms: Sequence[Arm], found: Mapping[str, Rates]) -> list[str]:
    """How many answers claim nothing, and what the paper measured."""
    silent = "; ".join(
        f"{arm.title} {found[arm.title].at('no_claim', 0).value:.3f} -> {found[arm.title].at('no_claim', -1).value:.3f}"
        for arm in arms
    )
    return [
        "Wen et al. 2024, people with little time, before -> after RLHF: approval +.06 to +.14, correctness about as "
        "before, FPR .41 -> .65, .47 -> .70, .30 -> .48 (three tasks)",
        f"answers without a claim are in no rate but approval; their share, SFT -> end: {silent}",
    ]


# --- ink ----------------------------------------------------------------------------------------------------


def draw(pairs: Sequence[Pair], found: Mapping[str, Rates]) -> Figure:
    """A panel a labeler, a row a rate: SFT (hollow), best-of-n on its way, the end of each method with its 95 %."""
    figure, axes = theme.panels(2, 3.3)
    for panel, which in zip(axes, (0, 1), strict=True):
        arms = [pair[which] for pair in pairs]
        for place, arm in enumerate(arms):
            _draw_arm(panel, arm, found[arm.title], place - (len(arms) - 1) / 2, _colour(place))
        panel.set_xlim(-0.03, 1.03)
        panel.set_yticks(range(len(SHOWN)), list(SHOWN.values()))
        panel.set_ylim(len(SHOWN) - 0.5, -0.75)
        panel.set_xlabel("share, as the labeler judges")
        theme.letter(panel, _called(arms[0]))
    handles = [theme.key(_method(pair.limited), _colour(i), linewidth=2) for i, pair in enumerate(pairs)]
    handles += [
        theme.key("SFT", marker="o", markerfacecolor="white"),
        theme.key("every fourth n on the way", marker="|", alpha=0.6),
        theme.key("end, 95 % interval", marker="s"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _draw_arm(panel: Axes, arm: Arm, found: Rates, shift: float, colour: str) -> None:
    for place, name in enumerate(SHOWN):
        y, curve = place + 0.26 * shift, found.draws[name][0].mean(axis=0)
        end = found.at(name, -1)
        panel.plot([curve[0], end.value], [y, y], color=colour, linewidth=0.8, alpha=0.5, zorder=1)
        if arm.chooses:
            way = np.arange(4, len(curve) - 1, 4)
            panel.plot(curve[way], np.full(len(way), y), "|", color=colour, markersize=7, alpha=0.6)
        panel.plot(curve[0], y, "o", color=colour, markerfacecolor="white", markersize=4.5, zorder=3)
        panel.plot(end.interval(), [y, y], color=colour, linewidth=2.2, zorder=3)
        panel.plot(end.value, y, "s", color=colour, markersize=4.5, markeredgecolor="white", zorder=4)


def _called(arm: Arm) -> str:
    if checks_everything(arm):
        return "can check everything (control)"
    return f"cannot check sums (competence {competence(arm):g})"


def _method(arm: Arm) -> str:
    return arm.title.split(",")[0] + (f" to n = {arm.curves[0].points[-1]}" if arm.chooses else "")


def _colour(place: int) -> str:
    return ("#3c6fb5", "#d1495b", "#2a9d6f", "#e08e45")[place % 4]
