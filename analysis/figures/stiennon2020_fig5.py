"""Predicted against actual preference over KL, last checkpoints of PPO under KL penalties (2009.01325, Figure 5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.best_of_n.curves import kl_axis
from analysis.drawing import plot, theme
from analysis.drawing.result import FigureResult
from analysis.runs import ablation, checks
from analysis.runs.ablation import RULE
from analysis.runs.arms import Arm, Study, study
from analysis.runs.gold_lost import split
from analysis.runs.penalties import (
    FEWEST,
    PLAIN_PENALTY,
    coefficient,
    end_kl,
    falls_with_coefficient,
    families,
    kind,
    peak_over_ends,
)
from analysis.runs.tables import estimate_row, points_table
from analysis.runs.win_rates import ACTUAL, NUMBERS, PREDICTED, drawn, ends, estimates, raw, with_win_rates
from analysis.statistics.claims import ClaimTable
from analysis.statistics.turnover import Turnover, turnover
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

Floats = NDArray[np.float64]

NAME = "stiennon2020_fig5"
SWEEPS = ("stiennon2020_fig5",)

SHARE = "share preferred to SFT"


class Penalised(NamedTuple):
    """PPO against one reward model under penalties."""

    arms: list[Arm]  # with both shares at every checkpoint, the unpenalised first, then rising coefficients
    last: Arm  # the initial policy, then last checkpoints, the largest coefficient first

    @property
    def title(self) -> str:
        """Method and reward model in words."""
        return self.arms[0].title


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw both preferences over KL: of last checkpoints along coefficients, and of checkpoints without a penalty."""
    families_of_ppo = penalised(study(runs))
    if not families_of_ppo:
        raise MissingRuns(
            f"no PPO runs against one reward model without a penalty and under {FEWEST - 1} coefficients or more "
            "are made"
        )
    claims = ClaimTable(NAME, SHARE)
    for family in families_of_ppo:
        claim_preferences(claims, family)
    shown = Study(tuple(arm for family in families_of_ppo for arm in family.arms))
    table = with_preferences(points_table(shown), shown.arms)
    rows = [
        estimate_row(
            family.last,
            "last checkpoints",
            f"{number}, its peak minus the least penalised",
            fall_at_ends(family, number).fall,
            unit="SDs" if number == "gold" else "share of pairs",
        )
        for family in families_of_ppo
        for number in (*NUMBERS, "gold")
    ]
    notes = [against_gold(family) for family in families_of_ppo] + checks.run_notes(shown)
    return FigureResult(table, pd.DataFrame(rows), claims, draw(families_of_ppo), notes)


def penalised(data: Study) -> list[Penalised]:
    """Return families of KL penalties in the reward of one reward model, whose units are Bradley and Terry's."""
    found = []
    for family in families(data).values():
        if kind(family[1]) != PLAIN_PENALTY or not ablation.is_plain(family[0], RULE) or len(family) < FEWEST:
            continue
        arms = [with_win_rates(arm) for arm in family]
        last = ends(arms)
        if last is not None:
            found.append(Penalised(arms, last))
    return found


def fall_at_ends(family: Penalised, number: str) -> Turnover:
    """Return the fall of a number from its peak over coefficients to the least penalised."""
    values = family.last.stacked(number) if number == "gold" else raw(family.last, number)
    return turnover(values[:, :, 1:], split(family.last))  # without the initial policy


# --- claims -------------------------------------------------------------------------------------------------


def claim_preferences(claims: ClaimTable, family: Penalised) -> None:
    """Make the claims of one reward model: about last checkpoints, then about checkpoints without a penalty."""
    arms, last, title, n = family.arms, family.last, family.title, family.last.questions
    claim_monotone(claims, family, "a larger penalty ends at a smaller KL", "smaller KL", end_kl)
    claim_monotone(
        claims,
        family,
        "predicted preference is higher the smaller the penalty",
        "predicted rises",
        lambda arm, replicate: drawn(arm, PREDICTED)[:, replicate, -1],
    )
    claims.all_above(
        "interior_maximum",
        title,
        "actual preference is highest between the largest coefficient and the smallest",
        peak_over_ends(raw(last, ACTUAL)[:, :, 1:], split(last)),
        n,
        "maximum between coefficients",
    )
    sentence = "actual preference falls from its peak to the smallest coefficient"
    claims.above("falls", title, sentence, fall_at_ends(family, ACTUAL).fall, n, "actual falls")
    sentence = "the least penalised policy is preferred to SFT less than half of the time"
    below = Estimate.of(0.5 - drawn(last, ACTUAL)[:, :, -1])
    claims.above("below_one_half", title, sentence, below, n, "actual below one half")
    sentence = "without a penalty actual preference rises to a peak and falls from it, each"
    turn = turnover(raw(arms[0], ACTUAL), split(arms[0]))
    claims.all_above("falls", title, sentence, [turn.rise, turn.fall], n, "actual turns while training")


def claim_monotone(
    claims: ClaimTable, family: Penalised, sentence: str, topic: str, number: Callable[[Arm, int], Floats]
) -> None:
    """Claim `monotone`: a number of each run falls with the coefficient, within each replicate."""
    correlation = falls_with_coefficient(family.arms, number)
    if correlation is not None:
        claims.above(
            "monotone",
            family.title,
            f"{sentence} (minus Spearman, within replicates)",
            correlation,
            len(family.arms) * correlation.replicates,
            topic,
            threshold=claims.limits["monotone"]["correlation"],
            most=1.0,
            unit="rank correlation",
        )


# --- tables and notes ---------------------------------------------------------------------------------------


def with_preferences(table: pd.DataFrame, arms: Sequence[Arm]) -> pd.DataFrame:
    """Return the points with `predicted` and `actual` beside gold and proxy; rows of means have 95 % intervals."""
    table = table.copy()
    for arm in arms:
        own = (table["method"] == arm.method) & (table["label"] == arm.label)
        for number in NUMBERS:
            means, rows = estimates(arm, number), own & (table["curve"] == "mean")
            table.loc[rows, number] = [mean.value for mean in means]
            table.loc[rows, f"{number}_lo"] = [mean.interval().lo for mean in means]
            table.loc[rows, f"{number}_hi"] = [mean.interval().hi for mean in means]
            for seeds, values in zip(arm.seeds, drawn(arm, number)[0], strict=True):
                table.loc[own & (table["replicate"] == seeds), number] = values
    return table


def against_gold(family: Penalised) -> str:
    """Return a note of which of win rate and mean gold shows the fall more clearly."""
    share, gold = fall_at_ends(family, ACTUAL).fall, fall_at_ends(family, "gold").fall
    return (
        f"{family.title}: from the peak over coefficients to the least penalised actual preference falls by "
        f"{share.value:+.3f} ({share.value / share.se:.1f} SE), mean gold by {gold.value:+.2f} SD "
        f"({gold.value / gold.se:.1f} SE); a share saturates where a mean may go on"
    )


# --- drawing ------------------------------------------------------------------------------------------------

COLOURS = {PREDICTED: "#d1495b", ACTUAL: "#3c6fb5"}
WORDS = {PREDICTED: "predicted by the reward model", ACTUAL: "actual, by gold"}


def draw(families_of_ppo: Sequence[Penalised]) -> Figure:
    """Draw two panels for each reward model: last checkpoints along coefficients, and checkpoints without a penalty."""
    figure, axes = theme.panels(2 * len(families_of_ppo), 3.1, sharey=False)
    for family, left, right in zip(families_of_ppo, axes[::2], axes[1::2], strict=True):
        unpenalised = family.arms[0]
        reach = max(np.max(mean_kl(arm)) for arm in (family.last, unpenalised))
        for panel, arm, marker in ((left, family.last, "o"), (right, unpenalised, "")):
            for number in NUMBERS:
                rows = share_rows(arm, number)
                plot.curve(panel, rows, "value", COLOURS[number], marker=marker)
            panel.axhline(0.5, color="0.8", linewidth=0.6, zorder=0)
            theme.square_root_nats(panel, reach, gap=0.1)
            panel.margins(y=0.18)
            panel.set_xlabel(kl_axis([unpenalised.curves[0].estimator]))
        name_coefficients(left, family)
        theme.letter(left, f"ends of runs, {family.last.rm}")
        theme.letter(right, "checkpoints, no penalty")
    theme.share_limits(axes)
    for panel in axes:
        panel.set_ylim(bottom=max(panel.get_ylim()[0], 0))  # a share
    axes[0].set_ylabel("share of answers preferred to SFT's")
    plot.legend(figure, [theme.key(WORDS[number], COLOURS[number], linewidth=1.5) for number in NUMBERS])
    return figure


def mean_kl(arm: Arm) -> Floats:
    """Return (K,), the mean KL at each point."""
    return np.mean([curves.kl.mean(axis=0) for curves in arm.curves], axis=0)


def share_rows(arm: Arm, number: str) -> pd.DataFrame:
    """Return a share at every point with its 95 % interval, to be drawn over KL."""
    table = pd.DataFrame([mean.row("value") for mean in estimates(arm, number)])
    return table.assign(kl=mean_kl(arm))


def name_coefficients(panel: Axes, family: Penalised) -> None:
    """Write the coefficient of each point above the predicted share."""
    rows = share_rows(family.last, PREDICTED)[1:]
    arms = [*family.arms[:0:-1], family.arms[0]]
    look = {"textcoords": "offset points", "ha": "center", "fontsize": 6}
    for kl, share, arm in zip(rows["kl"], rows["value"], arms, strict=True):
        panel.annotate(f"{coefficient(arm):g}", (kl, share), (0, 4), **look)
