"""Is gold a function of KL alone? PPO under penalties against PPO without one (2210.10760, Figure 9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.best_of_n.curves import kl_axis
from analysis.drawing import theme
from analysis.drawing.penalty_colours import colours
from analysis.drawing.result import FigureResult
from analysis.runs import checks
from analysis.runs.arms import Arm, Study, study
from analysis.runs.equal_kl import Difference, difference
from analysis.runs.naming import GOLD_SDS, PROXY_SDS
from analysis.runs.penalties import (
    PLAIN_PENALTY,
    end_kl,
    falling,
    families,
    in_short,
    kind,
    penalised,
    unpenalised,
)
from analysis.runs.tables import points_table
from analysis.statistics.claims import Claim, Thresholds, by_equivalence, by_estimate, exceeds, thresholds
from rlhf_lab.store.records import MissingRuns, Run

NAME = "gao2022_fig9"
SWEEPS = ("gao2022_fig9",)

AT_EQUAL_KL = "at equal KL"  # how rows of the fits are called


def make(runs: Sequence[Run]) -> FigureResult:
    """Gold against KL for every penalty, and the difference to no penalty at equal KL."""
    read = study(runs)
    arms = penalised(read)
    if not arms:
        raise MissingRuns("no penalised run and its unpenalised one are made")
    compared = {name: compare(read, arms, name) for name in ("gold", "proxy")}
    limits = thresholds(NAME)
    table, fits = points_table(read), differences_table(arms, compared)
    figure = draw(read, table, compared["gold"], limits)
    return FigureResult(table, fits, claims(read, compared, limits), figure, checks.kl_bound_notes(read))


def compare(read: Study, arms: Sequence[Arm], name: str) -> dict[str, Difference]:
    """Title -> difference of `name` between each penalised arm and the unpenalised one at equal KL."""
    found = {arm.title: difference(arm, first, name) for arm in arms if (first := unpenalised(read, arm))}
    return {title: one for title, one in found.items() if one is not None}


# --- claims -------------------------------------------------------------------------------------------------


def claims(read: Study, compared: dict[str, dict[str, Difference]], limits: Thresholds) -> list[Claim]:
    """Those of each penalised arm, then those of each kind of penalty."""
    found: list[Claim] = []
    for arm in penalised(read):
        if arm.title in compared["gold"]:
            found.append(_gold_of_kl_alone(arm, compared["gold"][arm.title], limits))
            found.append(_proxy_at_kl(arm, compared["proxy"][arm.title], limits))
            found += _chi2_above_kl(read, arm, limits)
    for title, family in families(read).items():
        found += _smaller_kl(title, family, limits)
    return found


def _gold_of_kl_alone(arm: Arm, found: Difference, limits: Thresholds) -> Claim:
    rule, reach = limits["gold_of_kl_alone"], float(found.reach.mean())
    return by_equivalence(
        f"{arm.title}: gold is that of the unpenalised run at equal KL, up to KL {reach:.2g}",
        found.estimate,
        *(-rule["margin"], rule["margin"], arm.questions),
        enough=reach >= rule["least_kl"] and found.estimate.replicates >= rule["replicates"],
        unit=GOLD_SDS,
        subject=arm.title,
        topic="gold at equal KL",
    )


def _proxy_at_kl(arm: Arm, found: Difference, limits: Thresholds) -> Claim:
    return by_estimate(
        f"{arm.title}: the penalty raises the proxy at equal KL",
        *(found.estimate, limits["proxy_at_kl"], arm.questions),
        unit=PROXY_SDS,
        subject=arm.title,
        topic="proxy higher at equal KL",
    )


def _chi2_above_kl(read: Study, arm: Arm, limits: Thresholds) -> list[Claim]:
    plain = [one for one in penalised(read) if kind(one) == PLAIN_PENALTY and one.reward == arm.reward]
    if kind(arm)[0] != "sqrt_chi2" or not plain:
        return []
    other = min(plain, key=lambda one: abs(_end_kl(one) - _end_kl(arm)))
    found = difference(arm, other, "gold")
    if found is None:
        return []
    sentence = f"{arm.title}: more gold than under {other.label} at equal KL"
    return [
        by_estimate(
            *(sentence, found.estimate, limits["chi2_above_kl"], arm.questions),
            unit=GOLD_SDS,
            subject=arm.title,
            topic="above the KL penalty",
        )
    ]


def _end_kl(arm: Arm) -> float:
    return float(np.mean([curves.kl[:, -1].mean() for curves in arm.curves]))


def _smaller_kl(title: str, family: Sequence[Arm], limits: Thresholds) -> list[Claim]:
    """That a larger penalty ends at a smaller KL, within each replicate."""
    found = falling(family, end_kl)
    if found is None:
        return []
    interval, threshold = found.interval(), limits["smaller_kl"]["correlation"]
    method, _, rest = title.partition(", ")
    return [
        Claim(
            claim=f"{title}: a larger penalty ends at a smaller KL (minus Spearman, within replicates)",
            measured=found.value,
            interval=interval,
            threshold=threshold,
            n=len(family) * found.replicates,
            replicates=found.replicates,
            met=exceeds(interval, threshold),
            rule="met: interval above 0; not met: not above 0",
            unit="rank correlation",
            subject=f"{method}: {rest}",
            topic="smaller KL",
            conditional=found.is_conditional,
        )
    ]


def differences_table(arms: Sequence[Arm], compared: dict[str, dict[str, Difference]]) -> pd.DataFrame:
    """One row an arm and number: the difference to no penalty with its 90 % interval, and how it was measured."""
    rows: list[dict[str, Any]] = []
    for arm in arms:
        for name, unit in (("gold", "SDs of gold"), ("proxy", "SDs of the proxy within a prompt")):
            found = compared[name].get(arm.title)
            if found is None:
                continue
            lo, hi = found.estimate.interval(0.90)
            about = {"method": arm.method, "rm": arm.rm, "label": arm.label, "form": AT_EQUAL_KL}
            rows.append(
                about
                | {"parameter": f"{name}, penalised minus unpenalised", "estimate": found.estimate.value}
                | {"lo": lo, "hi": hi, "se": found.estimate.se, "sd_of_pairs": pd.Series(found.by_pair).std()}
                | {"n": arm.questions, "replicates": found.estimate.replicates}
                | {"reach_kl": found.reach.mean(), "checkpoints": found.checkpoints}
                | {"note": f"90 % interval; {unit}"}
            )
    return pd.DataFrame(rows)


# --- ink ----------------------------------------------------------------------------------------------------


def draw(read: Study, table: pd.DataFrame, gold: dict[str, Difference], limits: Thresholds) -> Figure:
    """Gold (solid, 95 % band) and proxy (dashed) against KL, then the differences with 90 % intervals."""
    arms = penalised(read)
    firsts = list({arm.title: arm for one in arms if (arm := unpenalised(read, one))}.values())
    colour = colours([*firsts, *arms])
    plain = [arm for arm in arms if kind(arm) == PLAIN_PENALTY]
    others = [arm for arm in arms if kind(arm) != PLAIN_PENALTY]
    shown = {"KL penalties": plain, "other penalties": others}
    shown = {title: [*firsts, *of] for title, of in shown.items() if of}
    figure, axes = theme.panels(len(shown) + 1, 3.4, sharey=False, widths=[1.0] * len(shown) + [0.75])
    for panel, (title, of) in zip(axes, shown.items(), strict=False):
        _draw_frontier(panel, table, of, colour)
        theme.letter(panel, title)
    axes[0].set_ylabel("reward (SDs of gold on the initial policy)")
    theme.share_limits(axes[:-1])
    _draw_differences(axes[-1], [arm for arm in arms if arm.title in gold], gold, colour, limits)
    handles = [theme.key(in_short(arm), colour[arm.title], linewidth=2) for arm in [*firsts, *arms]]
    handles += [
        theme.key("gold, 95 % band", linewidth=1.5),
        theme.key("proxy", linestyle=theme.DASHED, linewidth=0.9),
    ]
    handles.append(theme.key("last checkpoint", marker="s"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, handlelength=2.0, columnspacing=1.4)
    return figure


def _draw_frontier(panel: Axes, table: pd.DataFrame, arms: Sequence[Arm], colour: dict[str, Any]) -> None:
    means, drawn = table[table["curve"] == "mean"], []
    for arm in arms:
        rows = means[(means["method"] == arm.method) & (means["label"] == arm.label)]
        drawn.extend(rows["kl_estimator"])
        theme.curve(panel, rows, colour[arm.title])
        theme.curve(panel, rows, colour[arm.title], "proxy")
        theme.mark(panel, rows["kl"].iloc[-1], rows["gold"].iloc[-1], colour[arm.title], "s")
    theme.square_root_nats(panel, means["kl"].max())
    panel.axhline(0, color="0.8", linewidth=0.6, zorder=0)
    panel.set_xlabel(kl_axis(drawn).replace(": ", ":\n"))
    panel.margins(y=0.12)


def _draw_differences(
    panel: Axes,
    arms: Sequence[Arm],
    gold: dict[str, Difference],
    colour: dict[str, Any],
    limits: Thresholds,
) -> None:
    """One row a penalised arm: each pair faint, the mean with its 90 % interval, the margin in grey."""
    margin = limits["gold_of_kl_alone"]["margin"]
    panel.axvspan(-margin, margin, color="0.92", linewidth=0, zorder=0)
    panel.axvline(0, color="0.7", linewidth=0.6, zorder=1)
    for row, arm in enumerate(arms):
        found = gold[arm.title]
        lo, hi = found.estimate.interval(0.90)
        panel.plot(
            found.by_pair,
            np.full(len(found.by_pair), row),
            "|",
            color=colour[arm.title],
            alpha=0.5,
            markersize=6,
        )
        panel.plot([lo, hi], [row, row], color=colour[arm.title], linewidth=2.2)
        panel.plot(
            found.estimate.value, row, "o", color=colour[arm.title], markersize=5, markeredgecolor="white"
        )
        panel.text(0.01, row - 0.18, in_short(arm), transform=panel.get_yaxis_transform(), fontsize=6.5)
    panel.set_yticks([])
    panel.set_ylim(len(arms) - 0.6, -0.7)
    panel.set_xlabel("gold minus unpenalised\nat equal KL (SDs)")
