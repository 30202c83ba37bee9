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
from analysis.drawing import plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks
from analysis.runs.arms import Arm, Study, study, title
from analysis.statistics.claims import ClaimTable
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "wen2024"
SWEEPS = ("ceiling",)

COMPETENCE = 0  # of the labeler that is shown: he can check facts and no sums
ROWS = {  # rate -> its name in the figure
    "approval": "approval",
    "correct": "correct claims",
    "fpr": "approved, of wrong claims (FPR)",
    "fnr": "not approved, of right claims (FNR)",
}
ANSWERS, CLAIMS, WRONG_CLAIMS = "share of answers", "share of claims", "share of wrong claims"
COLOURS = ("#3c6fb5", "#d1495b", "#2a9d6f", "#e08e45")  # of methods, in order


class Pair(NamedTuple):
    """One method with the labels of a labeler who cannot check sums, and of one who can check everything."""

    limited: Arm
    control: Arm


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw rates among SFT's answers and among optimised answers, each arm as its own labeler judges."""
    data = study(runs)
    pairs = both_labelers(data)
    if not pairs:
        raise MissingRuns(
            f"no runs of a labeler of competence {COMPETENCE} and of one who can check everything are made"
        )
    arms = [arm for pair in pairs for arm in pair]
    rates = {arm.title: approval.rates(arm) for arm in arms}
    claims = ClaimTable(NAME, WRONG_CLAIMS)
    for pair in pairs:
        for arm in pair:
            claim_paper(claims, arm, rates[arm.title])
        claim_beyond_checked(claims, pair.limited, rates[pair.limited.title])
        claim_beyond_control(claims, pair)
    table, changes = approval.table(arms, rates), changes_table(arms, rates)
    lines = [*notes(arms, rates), *checks.run_notes(data)]
    return FigureResult(table, changes, claims, draw(pairs, rates), lines)


def both_labelers(data: Study) -> list[Pair]:
    """Return both arms of each method that has them."""
    pairs = []
    for arms in approval.families(data):
        limited = [arm for arm in arms if competence(arm) == COMPETENCE and not checks_everything(arm)]
        control = [arm for arm in arms if checks_everything(arm)]
        if limited and control:
            pairs.append(Pair(limited[0], control[0]))
    return pairs


# --- claims -------------------------------------------------------------------------------------------------


def claim_paper(claims: ClaimTable, arm: Arm, rates: Rates) -> None:
    """Claim what the paper says: approval and FPR rise, correctness stays. It is not to hold of the control."""
    end = ablation.end_of(arm)
    claims.above(
        "approval_rises",
        arm.title,
        f"its labeler approves of more answers at {end} than among SFT's answers",
        Estimate.of(rates.rise("approval")),
        arm.questions,
        "approval rises",
        unit=ANSWERS,
    )
    claims.equivalent(
        "correctness_stays",
        arm.title,
        f"claims are right as often at {end} as in SFT's answers",
        Estimate.of(rates.rise("correct")),
        arm.questions,
        "correctness stays",
        unit=CLAIMS,
    )
    claims.above(
        "fpr_rises",
        arm.title,
        f"its labeler approves of more of the wrong claims at {end} than among SFT's answers",
        Estimate.of(rates.rise("fpr")),
        arm.questions,
        "FPR rises",
    )


def claim_beyond_checked(claims: ClaimTable, arm: Arm, rates: Rates) -> None:
    """Claim that FPR rises more than it does to a labeler who can check the same answers.

    To both labelers the manners of a wrong claim are worth something, so that FPR may rise to both.
    """
    claims.above(
        "fpr_beyond",
        arm.title,
        "FPR rises more than it does to a labeler who can check the same answers",
        Estimate.of(rates.rise("fpr", less="fpr_checked")),
        arm.questions,
        "FPR beyond who can check",
    )


def claim_beyond_control(claims: ClaimTable, pair: Pair) -> None:
    """Claim that FPR to one labeler rises more than among answers optimised for a labeler who can check them."""
    difference = approval.rises_more(*pair, "fpr", competence(pair.limited))
    if difference is None:
        return
    claims.above(
        "fpr_beyond",
        pair.limited.title,
        f"FPR to the same labeler rises more than under {pair.control.label}",
        difference,
        pair.limited.questions,
        "FPR beyond the control",
    )


def changes_table(arms: Sequence[Arm], rates: Mapping[str, Rates]) -> pd.DataFrame:
    """Return each rate at the end minus that among SFT's answers, with 95 % intervals."""
    rows = []
    for arm in arms:
        for name in approval.RATES:
            change = Estimate.of(rates[arm.title].rise(name))
            rows.append(
                {
                    **approval.row(arm, arm.curves[0].points[-1], change),
                    "parameter": f"{name} at the end minus SFT's",
                    "form": "rate",
                    "note": f"95 % interval; {ANSWERS}",
                }
            )
    return pd.DataFrame(rows)


def notes(arms: Sequence[Arm], rates: Mapping[str, Rates]) -> list[str]:
    """Say what the paper measured, and how many answers claim nothing."""
    shares = []
    for arm in arms:
        before, after = (rates[arm.title].at("no_claim", point).value for point in (0, -1))
        shares.append(f"{arm.title} {before:.3f} -> {after:.3f}")
    return [
        "Wen et al. 2024 measured people with little time, before -> after RLHF: approval rises by .06 to .14, "
        "correctness is about as before, FPR rises from .41 to .65, .47 to .70 and .30 to .48 in three tasks",
        "answers without a claim count for approval and for no other rate; their share, SFT -> end: "
        + "; ".join(shares),
    ]


# --- drawing ------------------------------------------------------------------------------------------------


def draw(pairs: Sequence[Pair], rates: Mapping[str, Rates]) -> Figure:
    """Draw a panel for each labeler and a row for each rate, in which each method has a line from SFT to its end."""
    figure, axes = theme.panels(2, 3.3)
    for panel, arms in zip(axes, zip(*pairs, strict=True), strict=True):
        for place, arm in enumerate(arms):
            draw_changes(panel, arm, rates[arm.title], place - (len(arms) - 1) / 2, COLOURS[place])
        panel.set_xlim(-0.03, 1.03)
        panel.set_yticks(range(len(ROWS)), list(ROWS.values()))
        panel.set_ylim(len(ROWS) - 0.5, -0.75)
        panel.set_xlabel("share, as the labeler judges")
        if checks_everything(arms[0]):
            theme.letter(panel, "can check everything (control)")
        else:
            theme.letter(panel, f"cannot check sums (competence {competence(arms[0]):g})")
    handles = []
    for pair, colour in zip(pairs, COLOURS, strict=False):
        arm = pair.limited
        reach = f" to n = {arm.curves[0].points[-1]}" if arm.chooses else ""
        handles.append(theme.key(title(arm.method) + reach, colour, linewidth=2))
    handles += [
        theme.key("SFT", marker="o", markerfacecolor="white"),
        theme.key("every fourth n on the way", marker="|", alpha=0.6),
        theme.key("end, 95 % interval", marker="s"),
    ]
    plot.legend(figure, handles)
    return figure


def draw_changes(panel: Axes, arm: Arm, rates: Rates, shift: float, colour: str) -> None:
    """Draw a line for each rate: SFT hollow, best-of-n on its way, the end with its 95 % interval."""
    for place, name in enumerate(ROWS):
        y, curve = place + 0.26 * shift, rates.draws[name][0].mean(axis=0)
        end = rates.at(name, -1)
        panel.plot([curve[0], end.value], [y, y], color=colour, linewidth=0.8, alpha=0.5, zorder=1)
        if arm.chooses:
            way = np.arange(4, len(curve) - 1, 4)
            panel.plot(curve[way], np.full(len(way), y), "|", color=colour, markersize=7, alpha=0.6)
        panel.plot(curve[0], y, "o", color=colour, markerfacecolor="white", markersize=4.5, zorder=3)
        panel.plot(end.interval(), [y, y], color=colour, linewidth=2.2, zorder=3)
        panel.plot(end.value, y, "s", color=colour, markersize=4.5, markeredgecolor="white", zorder=4)
