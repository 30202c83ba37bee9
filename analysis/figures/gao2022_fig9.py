"""Is gold a function of KL alone? PPO under penalties against PPO without one (2210.10760, Figure 9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import ColorType

from analysis.best_of_n.curves import kl_axis
from analysis.drawing import controls, plot, theme
from analysis.drawing.penalty_colours import colours
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import Arm, Study, study
from analysis.runs.equal_kl import Difference, difference
from analysis.runs.naming import GOLD_SDS, PROXY_SDS
from analysis.runs.penalties import (
    PLAIN_PENALTY,
    end_kl,
    falls_with_coefficient,
    families,
    kind,
    penalised,
    short_title,
    unpenalised,
)
from analysis.runs.tables import estimate_row, points_table
from analysis.statistics.claims import ClaimTable
from rlhf_lab.store.records import MissingRuns, Run

NAME = "gao2022_fig9"
SWEEPS = ("gao2022_fig9",)


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw gold against KL for every penalty, and the difference to no penalty at equal KL."""
    data = study(runs)
    arms = penalised(data)
    if not arms:
        raise MissingRuns("the figure needs a penalised run and the unpenalised run of the same reward model")
    gold, proxy = (compare(data, arms, number) for number in ("gold", "proxy"))
    claims = ClaimTable(NAME, GOLD_SDS)
    for arm in arms:
        if arm.title in gold:
            claim_gold_of_kl_alone(claims, arm, gold[arm.title])
            claim_proxy_at_kl(claims, arm, proxy[arm.title])
            claim_chi2_above_kl(claims, data, arm)
    for title, family in families(data).items():
        claim_smaller_kl(claims, title, family)
    table = points_table(data)
    fits = differences_table(arms, {"gold": gold, "proxy": proxy})
    figure = draw(data, table, gold, claims.limits["gold_of_kl_alone"]["margin"])
    return FigureResult(table, fits, claims, figure, checks.run_notes(data))


def compare(data: Study, arms: Sequence[Arm], number: str) -> dict[str, Difference]:
    """Return the difference of a number to the unpenalised arm at equal KL, by the title of the penalised arm."""
    found = {arm.title: difference(arm, first, number) for arm in arms if (first := unpenalised(data, arm))}
    return {title: apart for title, apart in found.items() if apart is not None}


# --- claims -------------------------------------------------------------------------------------------------


def claim_gold_of_kl_alone(claims: ClaimTable, arm: Arm, gold: Difference) -> None:
    """Claim `gold_of_kl_alone`: gold is that of the unpenalised run at equal KL, over a range of enough KL."""
    reach = float(gold.reach.mean())
    claims.equivalent(
        "gold_of_kl_alone",
        arm.title,
        f"gold is that of the unpenalised run at equal KL, up to KL {reach:.2g}",
        gold.estimate,
        arm.questions,
        "gold at equal KL",
        enough=reach >= claims.limits["gold_of_kl_alone"]["least_kl"],
    )


def claim_proxy_at_kl(claims: ClaimTable, arm: Arm, proxy: Difference) -> None:
    """Claim `proxy_at_kl`: the penalty raises the proxy at equal KL."""
    sentence, topic = "the penalty raises the proxy at equal KL", "proxy higher at equal KL"
    claims.above("proxy_at_kl", arm.title, sentence, proxy.estimate, arm.questions, topic, unit=PROXY_SDS)


def claim_chi2_above_kl(claims: ClaimTable, data: Study, arm: Arm) -> None:
    """Claim `chi2_above_kl`: a root-chi-squared penalty has more gold than the KL penalty that ends nearest in KL."""
    plain = [
        other for other in penalised(data) if kind(other) == PLAIN_PENALTY and other.reward == arm.reward
    ]
    if kind(arm)[0] != "sqrt_chi2" or not plain:
        return
    nearest = min(plain, key=lambda other: abs(last_kl(other) - last_kl(arm)))
    gold = difference(arm, nearest, "gold")
    if gold is not None:
        sentence = f"gold at equal KL is higher than under {nearest.label}"
        topic = "above the KL penalty"
        claims.above("chi2_above_kl", arm.title, sentence, gold.estimate, arm.questions, topic)


def last_kl(arm: Arm) -> float:
    """Return the mean KL at the last checkpoint, in nats."""
    return float(np.mean([curves.kl[:, -1].mean() for curves in arm.curves]))


def claim_smaller_kl(claims: ClaimTable, title: str, family: Sequence[Arm]) -> None:
    """Claim `smaller_kl`: a larger penalty ends at a smaller KL, within each replicate."""
    correlation = falls_with_coefficient(family, end_kl)
    if correlation is not None:
        claims.above(
            "smaller_kl",
            title.replace(", ", ": ", 1),
            "a larger penalty ends at a smaller KL (minus Spearman, within replicates)",
            correlation,
            len(family) * correlation.replicates,
            "smaller KL",
            threshold=claims.limits["smaller_kl"]["correlation"],
            unit="rank correlation",
        )


def differences_table(arms: Sequence[Arm], compared: dict[str, dict[str, Difference]]) -> pd.DataFrame:
    """Return the difference of each penalised arm to no penalty with its 90 % interval, and how it was measured."""
    rows: list[dict[str, Any]] = []
    for arm in arms:
        for number, unit in (("gold", "SDs of gold"), ("proxy", "SDs of the proxy within a prompt")):
            if (apart := compared[number].get(arm.title)) is not None:
                parameter = f"{number}, penalised minus unpenalised"
                row = estimate_row(arm, "at equal KL", parameter, apart.estimate, unit=unit, level=0.90)
                how = {"reach_kl": apart.reach.mean(), "checkpoints": apart.checkpoints}
                rows.append(row | how | {"sd_of_pairs": pd.Series(apart.by_pair).std()})
    return pd.DataFrame(rows)


# --- drawing ------------------------------------------------------------------------------------------------


def draw(data: Study, table: pd.DataFrame, gold: dict[str, Difference], margin: float) -> Figure:
    """Draw gold (solid, 95 % band) and proxy (dashed) against KL, then the differences with 90 % intervals."""
    arms = penalised(data)
    firsts = list({arm.title: arm for other in arms if (arm := unpenalised(data, other))}.values())
    colour_of = colours([*firsts, *arms])
    plain = [arm for arm in arms if kind(arm) == PLAIN_PENALTY]
    others = [arm for arm in arms if kind(arm) != PLAIN_PENALTY]
    shown = {title: group for title, group in (("KL penalties", plain), ("other penalties", others)) if group}
    figure, axes = theme.panels(len(shown) + 1, 3.4, sharey=False, widths=[1.0] * len(shown) + [0.75])
    for panel, (title, group) in zip(axes, shown.items(), strict=False):
        draw_frontier(panel, table, [*firsts, *group], colour_of)
        theme.letter(panel, title)
    axes[0].set_ylabel("reward (SDs of gold on the initial policy)")
    theme.share_limits(axes[:-1])
    draw_differences(axes[-1], [arm for arm in arms if arm.title in gold], gold, colour_of, margin)
    entries = [theme.key(short_title(arm), colour_of[arm.title], linewidth=2) for arm in [*firsts, *arms]]
    entries.append(theme.key("gold, 95 % band", linewidth=1.5))
    entries.append(theme.key("proxy, in its own SDs", linestyle=theme.DASHED, linewidth=0.9))
    entries.append(theme.key("last checkpoint", marker="s"))
    entries += controls.keys(table)
    plot.legend(figure, entries)
    return figure


def draw_frontier(
    panel: Axes, table: pd.DataFrame, arms: Sequence[Arm], colour_of: dict[str, ColorType]
) -> None:
    """Draw gold and proxy of arms over KL, with a square at the last checkpoint, and gold of controls."""
    means, estimators = table[table["curve"] == "mean"], []
    for arm in arms:
        rows, colour = (
            means[(means["method"] == arm.method) & (means["label"] == arm.label)],
            colour_of[arm.title],
        )
        estimators.extend(rows["kl_estimator"])
        plot.curve(panel, rows, "gold", colour)
        plot.curve(panel, rows, "proxy", colour, style=theme.DASHED, width=0.9, band=0)
        theme.mark(panel, rows["kl"].iloc[-1], rows["gold"].iloc[-1], colour, "s")
    controls.draw(panel, controls.of(table, arms[0].method))
    theme.square_root_nats(panel, means.loc[~means["arm"].isin(controls.DRAWN), "kl"].max())
    panel.axhline(0, color="0.8", linewidth=0.6, zorder=0)
    panel.set_xlabel(kl_axis(estimators).replace(": ", ":\n"))
    panel.margins(y=0.12)


def draw_differences(
    panel: Axes,
    arms: Sequence[Arm],
    gold: dict[str, Difference],
    colour_of: dict[str, ColorType],
    margin: float,
) -> None:
    """Draw a row for each penalised arm: its pairs faint, their mean with its 90 % interval; the margin is shaded."""
    for row, arm in enumerate(arms):
        pairs = gold[arm.title].by_pair
        look = {"color": colour_of[arm.title], "alpha": 0.5, "markersize": 6}
        panel.plot(pairs, np.full(len(pairs), row), "|", **look)
        panel.text(0.01, row - 0.18, short_title(arm), transform=panel.get_yaxis_transform(), fontsize=6.5)
    rows = [(row, gold[arm.title].estimate, colour_of[arm.title]) for row, arm in enumerate(arms)]
    plot.forest(panel, rows, margin=margin, level=0.90)
    panel.set_xlabel("gold minus unpenalised\nat equal KL (SDs)")
