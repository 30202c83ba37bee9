"""Gold and proxy against sqrt(KL) of best-of-n, by comparisons learned from (2210.10760, Figures 4 and 19)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.best_of_n.curves import kl_axis
from analysis.drawing import ablation_panels, theme
from analysis.drawing.result import FigureResult
from analysis.reward_models.data_sizes import by_comparisons, by_size, comparisons
from analysis.runs import checks
from analysis.runs.ablation import losses
from analysis.runs.arms import Arm, Study
from analysis.runs.rank_order import Order, grows, order, order_row, peak_gold
from analysis.runs.tables import fits_table, points_table
from analysis.statistics.claims import Claim, Thresholds, thresholds
from rlhf_lab.store.records import Run

NAME = "gao2022_fig4"
SWEEPS = ("gao2022_data",)

PEAK, LOSS = "comparisons and peak gold", "comparisons and gold lost from its peak"  # rows of the fits


def make(runs: Sequence[Run]) -> FigureResult:
    """Gold and proxy over KL, a panel a reward-model size and a line a number of comparisons."""
    read = by_comparisons(runs)
    table = points_table(read)
    table.insert(4, "comparisons", table["label"].map({arm.label: comparisons(arm) for arm in read.arms}))
    found = {rm: orders(arms) for rm, arms in by_size(read).items()}
    rows = [order_row(name, rm, one) for rm, of in found.items() for name, one in of.items()]
    fitted = pd.concat([fits_table(read), pd.DataFrame(rows)], ignore_index=True)
    return FigureResult(
        table, fitted, claims(found, thresholds(NAME)), draw(read, table), checks.kl_bound_notes(read)
    )


def orders(arms: Sequence[Arm]) -> dict[str, Order]:
    """The rank correlations of comparisons with peak gold and with what is lost from it, of one size."""
    counts = [comparisons(arm) for arm in arms]
    return {
        PEAK: order(arms, counts, [peak_gold(arm) for arm in arms]),
        LOSS: order(arms, counts, [losses(arm) for arm in arms]),
    }


def claims(found: dict[str, dict[str, Order]], limits: Thresholds) -> list[Claim]:
    """Of each reward-model size: more comparisons, a higher peak and a smaller loss."""
    made = []
    for rm, of in found.items():
        subject = f"best-of-n, {rm}"
        made.append(
            grows(
                f"{subject}: gold peaks higher the more comparisons",
                *(of[PEAK], limits["peak_grows"]),
                subject=subject,
                topic="higher peak with more comparisons",
            )
        )
        made.append(
            grows(
                f"{subject}: less gold is lost from its peak the more comparisons",
                *(of[LOSS], limits["loses_less"], -1),
                subject=subject,
                topic="smaller loss with more comparisons",
            )
        )
    return made


# --- ink ----------------------------------------------------------------------------------------------------


def draw(read: Study, table: pd.DataFrame) -> Figure:
    """Solid gold with its 95 % band, dashed proxy; dark is few comparisons."""
    of = by_size(read)
    counts = sorted({comparisons(arm) for arm in read.arms})
    colour = dict(zip(counts, theme.sizes(len(counts)), strict=True))
    means = table[table["curve"] == "mean"]
    figure, axes = theme.panels(len(of), 3.3)
    for panel, (rm, arms) in zip(axes, of.items(), strict=True):
        for arm in arms:
            ablation_panels.gold_and_proxy(
                panel, means[means["label"] == arm.label], colour[comparisons(arm)]
            )
        theme.square_root_nats(panel, float(means["kl"].max()), gap=0.12)
        panel.axhline(0, color="0.8", linewidth=0.6, zorder=0)
        panel.set_xlabel(kl_axis(means["kl_estimator"]).replace(": ", ":\n"))
        panel.margins(y=0.12)
        theme.letter(panel, f"{rm} reward model")
    axes[0].set_ylabel("reward (SDs of gold on the initial policy)")
    _legend(figure, colour)
    return figure


def _legend(figure: Figure, colour: dict[int, Any]) -> None:
    handles = [theme.key(f"{count:,} comparisons", hue, linewidth=2) for count, hue in colour.items()]
    handles += ablation_panels.curve_keys()
    figure.legend(handles=handles, loc="outside lower center", ncols=5, handlelength=2.0, columnspacing=1.2)
