"""PPO judged by the reward model it is optimised against and by one of other questions (2204.05862, Figure 4)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.best_of_n.curves import kl_axis
from analysis.drawing import plot, theme
from analysis.drawing.result import FigureResult
from analysis.reward_models.cross_judging import Judged, smaller_gap
from analysis.reward_models.cross_judging import judged as judged_arms
from analysis.runs import checks
from analysis.runs.arms import Study, study
from analysis.runs.gold_lost import split
from analysis.runs.naming import PROXY_SDS
from analysis.runs.tables import points_table
from analysis.statistics.claims import ClaimTable
from analysis.statistics.resampling import percentile_interval
from analysis.statistics.turnover import turnover
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import MissingRuns, Run

NAME = "bai2022_fig4"
SWEEPS = ("bai2022_fig4",)

NUMBERS = ("train", "test", "gap")
EARLY = (1 / 6, 1 / 3)  # of the last checkpoint's d: the upper half of its first third
LINEAR = 1 / 2  # the part of d over which the proxy is claimed to be linear
TRAIN, TEST, GOLD = "#3c6fb5", "#d1495b", "0.45"


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw train and test reward, and gold, over sqrt(KL), a panel for each reward model; then the gap."""
    data = study(runs)
    judged = sorted(judged_arms(data), key=lambda pair: pair.train.parameters)
    if not judged:
        raise MissingRuns(
            "no run whose answers a reward model of the other half of the questions scored is made "
            "(rm.half=first score.other_half=true)"
        )
    claims = ClaimTable(NAME, PROXY_SDS)
    for pair in judged:
        claim_pair(claims, pair)
    for small, large in pairwise(judged):
        claim_smaller_gap(claims, small, large)
    shown = Study(tuple(pair.train for pair in judged))
    table = with_rewards(points_table(shown), judged)
    figure = draw(table, judged, claims.limits["no_gap_early"]["margin"])
    return FigureResult(table, fits_table(judged), claims, figure, [*notes(judged), *checks.run_notes(shown)])


# --- claims -------------------------------------------------------------------------------------------------


def claim_pair(claims: ClaimTable, pair: Judged) -> None:
    """Claim how the two rewards of one reward model's policy part: early, at the end, and how linear train is."""
    claims.equivalent(
        "no_gap_early",
        pair.train.title,
        "train and test reward agree over the first third of d",
        pair.between("gap", *EARLY),
        pair.train.questions,
        "no gap early",
    )
    claims.above(
        "gap_at_end",
        pair.train.title,
        "the train reward is above the test reward at the last checkpoint",
        pair.at_end("gap"),
        pair.train.questions,
        "gap at the end",
    )
    claims.all_above(
        "linear",
        pair.train.title,
        "the train reward is linear in d over its first half (R^2)",
        [Estimate.of(pair.linearity(LINEAR))],
        pair.train.questions,
        "linear early",
        threshold=claims.limits["linear"]["r_squared"],
        most=1.0,
        unit="R^2",
    )


def claim_smaller_gap(claims: ClaimTable, small: Judged, large: Judged) -> None:
    """Claim `smaller_gap`: the larger reward model has a smaller gap than the smaller one at equal KL."""
    difference = smaller_gap(small, large)
    if difference is None:
        return
    claims.above(
        "smaller_gap",
        large.train.title,
        f"the gap is smaller than {small.train.label}'s at equal KL, up to KL {float(difference.reach.mean()):.2g}",
        difference.estimate,
        large.train.questions,
        f"smaller gap than {small.train.rm}",
    )


# --- tables -------------------------------------------------------------------------------------------------


def with_rewards(table: pd.DataFrame, judged: Sequence[Judged]) -> pd.DataFrame:
    """Return the points with columns `train`, `test` and `gap`, and their 95 % intervals in rows of means."""
    table = table.copy()
    for pair in judged:
        of_arm = table["label"] == pair.train.label
        for name in NUMBERS:
            values = np.stack([path.values for path in pair.paths(name)], axis=1)  # (B, R, K)
            means = [Estimate.of(values[:, :, k]) for k in range(values.shape[2])]
            rows = of_arm & (table["curve"] == "mean")
            table.loc[rows, name] = [mean.value for mean in means]
            table.loc[rows, f"{name}_lo"] = [mean.interval().lo for mean in means]
            table.loc[rows, f"{name}_hi"] = [mean.interval().hi for mean in means]
            for replicate, seeds in enumerate(pair.train.seeds):
                table.loc[of_arm & (table["replicate"] == seeds), name] = values[0, replicate]
    return table


def fits_table(judged: Sequence[Judged]) -> pd.DataFrame:
    """Return R^2 of each replicate, both rewards and their gap, what the test reward loses, and how far they agree."""
    rows: list[dict[str, Any]] = []
    for pair in judged:
        draws = pair.linearity(LINEAR)
        for seeds, r_squared in zip(pair.train.seeds, draws.T, strict=True):
            lo, hi = percentile_interval(r_squared[1:])
            row = fit_row(pair, "R^2 of train on d, first half", r_squared[0], lo, hi)
            rows.append(row | {"replicate": seeds, "replicates": 1})
        estimates = {
            "gap, first third of d": pair.between("gap", *EARLY),
            "gap at the end": pair.at_end("gap"),
            "train at the end": pair.at_end("train"),
            "test at the end": pair.at_end("test"),
            "correlation of train and test within SFT's prompts": pair.agreement,
        }
        for name, estimate in estimates.items():
            row = fit_row(pair, name, estimate.value, *estimate.interval())
            rows.append(row | {"replicates": estimate.replicates})
        fall = turnover(pair.test.stacked("proxy"), split(pair.test)).fall
        row = fit_row(pair, "test, its peak minus its end", fall.value, *fall.interval())
        rows.append(row | {"replicates": len(pair.test.curves)})
    return pd.DataFrame(rows)


def fit_row(pair: Judged, parameter: str, estimate: float, lo: float, hi: float) -> dict[str, Any]:
    """Return a row of the table of fits."""
    return {
        "method": pair.train.method,
        "rm": pair.train.rm,
        "label": pair.train.label,
        "form": "halves",
        "parameter": parameter,
        "estimate": estimate,
        "lo": lo,
        "hi": hi,
        "n": pair.train.questions,
        "note": "95 % interval; rewards in their SDs within a prompt",
    }


def notes(judged: Sequence[Judged]) -> list[str]:
    """Say whether the test reward falls, and which gap the two rewards' disagreement on SFT's answers explains."""
    lines = []
    for pair in judged:
        fall = turnover(pair.test.stacked("proxy"), split(pair.test)).fall
        gap, train = pair.at_end("gap"), pair.at_end("train")
        state = "falls" if fall.interval().lo > 0 else "does not fall clearly"
        explained = (1 - pair.agreement.value) * train.value
        lines.append(
            f"{pair.train.title}: the test reward {state} by the end: its peak minus its end is {fall.signed} "
            f"(in Bai et al. it still rises). The gap is {gap.value:+.2f} SD. Rewards correlate "
            f"at {pair.agreement.value:.2f} among SFT's answers, which alone would give a gap of {explained:.2f}"
        )
    return lines


# --- drawing ------------------------------------------------------------------------------------------------


def draw(table: pd.DataFrame, judged: Sequence[Judged], margin: float) -> Figure:
    """Draw train, test and gold, a panel for each reward model; then the gaps of all in one panel."""
    means = table[table["curve"] == "mean"]
    figure, axes = theme.panels(len(judged) + 1, 3.1, sharey=False)
    for panel, pair in zip(axes, judged, strict=False):
        of_arm = means[means["label"] == pair.train.label]
        plot.curve(panel, of_arm, "train", TRAIN)
        plot.curve(panel, of_arm, "test", TEST)
        plot.curve(panel, of_arm, "gold", GOLD, width=0.8, band=0)
        theme.letter(panel, f"reward models of {pair.train.rm}")
    theme.share_limits(axes[:-1])
    for pair, colour in zip(judged, theme.sizes(len(judged)), strict=True):
        of_arm = means[means["label"] == pair.train.label]
        plot.curve(axes[-1], of_arm, "gap", colour)
        end = of_arm["kl"].iloc[-1], of_arm["gap"].iloc[-1]
        axes[-1].annotate(pair.train.rm, end, (2, 0), textcoords="offset points", color=colour, va="center")
    axes[-1].axhspan(-margin, margin, color="0.92", linewidth=0, zorder=0)
    theme.letter(axes[-1], "train minus test")
    for panel in axes:
        theme.square_root_nats(panel, means["kl"].max() * 1.06, gap=0.14)
        panel.axhline(0, color="0.8", linewidth=0.6, zorder=0)
        panel.margins(y=0.15)
    axes[0].set_ylabel("score above the initial policy's (SDs there)")
    axes[len(judged) // 2].set_xlabel(kl_axis(means["kl_estimator"]))
    handles = [
        theme.key("reward model optimised against", TRAIN, linewidth=1.5),
        theme.key("reward model of the other questions", TEST, linewidth=1.5),
        theme.key("gold", GOLD, linewidth=0.8),
    ]
    plot.legend(figure, handles)
    return figure
